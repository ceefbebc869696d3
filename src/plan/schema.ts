// The plan's schema: the one source of validation, of the TypeScript types and of the JSON Schema (DESIGN §3).
// Strict throughout: a key that nobody reads is a mistake that nobody would notice.
import { z } from 'zod';
import { duration, label, path, SAFE_PATH, SECRET_NAME } from './parts.js';
import { checkPullRequest, pullRequestKeys, pullRequestOf } from './pull-request.js';
import { checkTarget, containerOf, ONE_TARGET, targetKeys } from './target.js';
import { verifySchema } from './verify.js';

/** Names that Throughline itself gives to the training program (DESIGN §4), or that would break its process. */
export const RESERVED_ENVIRONMENT =
  /^(?:TRACEPARENT|TRACESTATE|BAGGAGE|DATASET_NAME|DATASET_VERSION|RELEASE_ID|MODEL_NAME|MODEL_OUTPUT|RESULT_FILE|PATH|HOME|OTEL_.*|LD_.*|DYLD_.*)$/;

const ENVIRONMENT_VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Repository part of an image reference, without tag and digest (distribution/reference). */
const IMAGE_NAME =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*$/;

const imageName = z
  .string()
  .max(255)
  .regex(IMAGE_NAME, 'expected an image name without tag and digest: registry.example/team/name')
  .describe('An image’s name without tag and digest; Throughline adds both');

/** git-check-ref-format(1), as far as a pattern can say it. */
const branch = z
  .string()
  .max(255)
  .regex(
    /^(?![-/.])(?!.*(?:\.\.|@\{|\/\/|\/\.|\.lock(?:\/|$)))[^\0-\x20\x7f~^:?*[\\]+(?<![/.])$/,
    'expected the name of a git branch',
  );

/** What names a repository: https, http, ssh or file URL, scp-like, or an absolute path. Never an option or a helper. */
export const REPOSITORY_PATTERN =
  /^(?:(?:https?|ssh|file):\/\/[^\s\0-\x1f]+|[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^\s\0-\x1f]+|\/[^\0-\x1f]+)$/;

/** A password; whatever stands before the @ of an http URL, or in a query: often a token (I9). */
export const HOLDS_SECRET = /^(?:https?:\/\/[^/@]*@|[a-z]+:\/\/[^/@]*:[^/@]*@|[a-z]+:\/\/[^?#]*[?#])/i;

const repository = z
  .string()
  .max(2048)
  .regex(REPOSITORY_PATTERN, 'expected an https, ssh or file URL of a git repository')
  .refine(
    (url) => !HOLDS_SECRET.test(url),
    'expected a URL without user, password and query: secrets are never in a plan',
  );

const parameterName = z
  .string()
  .regex(ENVIRONMENT_VARIABLE, 'expected the name of an environment variable')
  .refine(
    (name) => !RESERVED_ENVIRONMENT.test(name),
    'expected another name: this one is set by Throughline or by the system',
  )
  .refine(
    (name) => !SECRET_NAME.test(name),
    'expected no secret: parameters are evidence, and shown; let the Job read a Secret instead',
  );

const parameterValue = z
  .union([z.string().max(4096), z.number(), z.boolean()], 'expected a string, a number or a boolean')
  .refine((value) => typeof value !== 'number' || Number.isFinite(value), 'expected a finite number')
  .refine(
    (value) => typeof value !== 'number' || !Number.isInteger(value) || Number.isSafeInteger(value),
    'expected a number below 2^53; quote a larger one',
  )
  .refine((value) => typeof value !== 'string' || !value.includes('\0'), 'expected text without NUL bytes')
  .transform(String);

/** Parameters by environment variable; a trigger's overrides follow the same rule. */
export const parametersSchema = z.record(parameterName, parameterValue);

const acceptance = z
  .strictObject({
    metric: z.string().min(1).max(200).describe('The metric’s name, as the training program reports it'),
    atLeast: z.number().optional(),
    atMost: z.number().optional(),
  })
  .refine(
    (rule) => rule.atLeast !== undefined || rule.atMost !== undefined,
    'expected atLeast, atMost, or both',
  );

const train = z.strictObject({
  job: path.describe('An ordinary batch/v1 Job; used as it is, plus the environment of the contract'),
  build: z
    .strictObject({ context: path, dockerfile: path.default('Dockerfile'), image: imageName })
    .optional()
    .describe('The trainer’s image, built at the commit'),
  dataset: z.strictObject({
    name: z.string().min(1).max(200),
    version: z.string('expected a string; quote a version that looks like a number').min(1).max(200),
  }),
  parameters: parametersSchema.default({}),
  timeout: duration.default(6 * 3600),
});

const deploy = z
  .strictObject({
    environment: label,
    approval: z
      .enum(['none', 'required'])
      .default('none')
      .describe('Whether somebody has to approve it (`throughline approve`)'),
    approvalTimeout: duration
      .default(3 * 86_400)
      .describe('How long is waited for that; the release ends REJECTED afterwards'),
    escalation: z
      .strictObject({
        after: duration,
        note: z.string().min(1).max(500).describe('What to tell, and whom: it stands in status and events'),
      })
      .optional()
      .describe('What is said when nobody has answered for a while'),
    repository: repository.describe('The GitOps repository'),
    branch: branch.default('main'),
    ...pullRequestKeys,
    manifest: z
      .string()
      .max(1024)
      .regex(
        SAFE_PATH,
        'expected a path below the root of the GitOps repository: relative, with /, without ..',
      )
      .describe('The manifest, kustomization or values file, relative to the root of the GitOps repository'),
    container: label
      .optional()
      .describe('The container whose image and environment are set, of a plain manifest'),
    ...targetKeys,
    rollback: z
      .enum(['none', 'automatic'])
      .default('none')
      .describe(
        'Whether a deployment that does not become healthy, or does not pass its checks, is taken back by the release itself',
      ),
    argocd: z
      .strictObject({
        application: label,
        namespace: label.default('argocd'),
        timeout: duration.default(15 * 60),
      })
      .optional(),
    verify: verifySchema.optional(),
  })
  .refine(({ approvalTimeout, escalation }) => !escalation || escalation.after < approvalTimeout, {
    message: 'expected an escalation before the approval’s own deadline',
    path: ['escalation', 'after'],
  })
  .refine(({ argocd, verify = [] }) => argocd || verify.every(({ health }) => !health), {
    message: 'expected argocd: a check of health asks Argo CD',
    path: ['verify'],
  })
  .superRefine(checkTarget)
  .superRefine(checkPullRequest)
  .meta(ONE_TARGET)
  .transform((entry) => ({
    ...entry,
    container: containerOf(entry),
    pullRequest: pullRequestOf(entry),
  }));

export const planSchema = z.strictObject({
  apiVersion: z.literal('throughline.dev/v1alpha1'),
  kind: z.literal('ReleasePlan'),
  metadata: z.strictObject({ name: label.describe('The model’s name') }),
  train,
  evaluate: z
    .strictObject({ accept: z.array(acceptance).max(100) })
    .default({ accept: [] })
    .describe('The gate: a release whose model does not meet every rule ends REJECTED'),
  build: z.strictObject({ context: path, dockerfile: path.default('Dockerfile'), image: imageName }),
  deploy: z
    .array(deploy)
    .max(20)
    .refine(
      (entries) => new Set(entries.map((entry) => entry.environment)).size === entries.length,
      'expected each environment once',
    )
    .default([]),
});

/** A validated plan: every default filled in, durations in seconds, parameters as text. */
export type Plan = z.output<typeof planSchema>;
export type Deployment = Plan['deploy'][number];
export type AcceptanceRule = Plan['evaluate']['accept'][number];

/** JSON Schema (draft 2020-12) of what a person writes. */
export function planJsonSchema(): Record<string, unknown> {
  const schema = z.toJSONSchema(planSchema, { io: 'input', unrepresentable: 'any' });
  return {
    $schema: schema.$schema,
    $id: 'https://throughline.dev/schemas/v1alpha1/release-plan.json',
    title: 'Throughline release plan',
    ...schema,
  };
}
