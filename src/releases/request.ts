// What a trigger may say, and how it becomes a release request. The same for the gateway, for Spinnaker and for the CLI.
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { type Problem, ThroughlineError } from '../domain/errors.js';
import { releaseIdOf, sha256Hex } from '../domain/ids.js';
import type { ReleaseRequest, SpinnakerExecution } from '../domain/release.js';
import { formatTraceparent, parseTraceparent, releaseContext } from '../domain/trace.js';
import { checkRepositoryUrl } from '../git/index.js';
import { DEFAULT_PLAN_PATH, normalizePath, parametersSchema } from '../plan/index.js';

const text = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^[^\0-\x1f\x7f]*$/, 'expected text without control characters');

const spinnakerId = text(200);

/** Body of `POST /v1/releases`. Spinnaker's objects are read for what is known of them, and otherwise let through. */
export const triggerSchema = z.strictObject({
  repository: text(2048).describe('URL of the model’s repository'),
  ref: text(255)
    // git-check-ref-format(1); an option is never a ref
    .regex(/^(?!-)(?!.*(?:\.\.|@\{|\/\/))[^ ~^:?*[\\]+$/, 'expected a branch, a tag or a commit')
    .optional()
    .describe('Branch, tag or commit. Default: the trigger’s commit or branch, else the default branch'),
  plan: text(1024).default(DEFAULT_PLAN_PATH).describe('Path of the plan in the repository'),
  parameters: parametersSchema.default({}).describe('Overrides of the plan’s train.parameters'),
  idempotencyKey: text(500)
    .optional()
    .describe('Repeating a trigger with the same key returns the same release'),
  traceparent: z
    .string()
    .max(512)
    .optional()
    .describe('W3C Trace Context of the caller, instead of the header'),
  tracestate: text(512).optional(),
  baggage: text(8192).optional(),
  execution: z
    .looseObject({ id: spinnakerId, application: spinnakerId.optional(), name: spinnakerId.optional() })
    .optional()
    .describe('Spinnaker’s execution'),
  stage: z
    .looseObject({
      id: spinnakerId.optional(),
      refId: spinnakerId.optional(),
      context: z
        .looseObject({
          restartDetails: z
            .looseObject({ restartTime: z.union([z.number(), z.string().max(100)]).optional() })
            .optional(),
        })
        .optional(),
    })
    .optional()
    .describe('Spinnaker’s stage'),
  trigger: z
    .looseObject({ hash: text(255).nullish(), branch: text(255).nullish(), user: text(255).nullish() })
    .optional()
    .describe('Spinnaker’s trigger'),
});

export type Trigger = z.input<typeof triggerSchema>;

/** What comes besides the body: headers of the request, or options of the command line. */
export interface TriggerContext {
  readonly idempotencyKey?: string | undefined;
  readonly traceparent?: string | undefined;
  readonly tracestate?: string | undefined;
  readonly baggage?: string | undefined;
  readonly requestedBy?: string | undefined;
  /** Base of the URLs that releases have, without a slash at its end; undefined where there is no gateway. */
  readonly releasesUrl?: string | undefined;
  /** When the request arrived. */
  readonly at: Date;
}

export interface ParsedTrigger {
  readonly request: ReleaseRequest;
  /** Two requests under one key are the same where this is. */
  readonly fingerprint: string;
}

/** Throws TL_REQUEST_INVALID, TL_REPOSITORY_INVALID, TL_PATH_UNSAFE or TL_TRACEPARENT_INVALID. */
export function parseTrigger(body: unknown, context: TriggerContext): ParsedTrigger {
  refuseUnresolved(body);
  const parsed = triggerSchema.safeParse(body);
  if (!parsed.success) throw invalidTrigger(parsed.error);
  const trigger = parsed.data;
  checkRepositoryUrl(trigger.repository);
  const planPath = normalizePath(trigger.plan);
  const ref = trigger.ref ?? trigger.trigger?.hash ?? trigger.trigger?.branch ?? 'HEAD';
  const spinnaker = spinnakerExecution(trigger);
  const key = trigger.idempotencyKey ?? context.idempotencyKey ?? spinnakerKey(trigger) ?? randomUUID();
  const release = releaseIdOf(key);
  const callerText = trigger.traceparent ?? context.traceparent;
  const caller = callerText === undefined ? undefined : parseTraceparent(callerText);
  const run = releaseContext(release, caller);
  return {
    request: {
      release,
      repository: trigger.repository,
      ref,
      planPath,
      parameters: trigger.parameters,
      trace: {
        traceparent: formatTraceparent(run),
        tracestate: trigger.tracestate ?? context.tracestate,
        baggage: trigger.baggage ?? context.baggage,
      },
      caller: caller && formatTraceparent(caller),
      url: context.releasesUrl && `${context.releasesUrl}/${release}`,
      spinnaker,
      requestedBy: trigger.trigger?.user ?? context.requestedBy,
      requestedAt: context.at.toISOString(),
    },
    fingerprint: sha256Hex(
      JSON.stringify([trigger.repository, ref, planPath, sorted(trigger.parameters)]),
    ).slice(0, 32),
  };
}

/** Spinnaker's key (FACTS): the execution, the stage's place in it, and its restart. */
function spinnakerKey(trigger: z.output<typeof triggerSchema>): string | undefined {
  if (!trigger.execution) return undefined;
  const restart = trigger.stage?.context?.restartDetails?.restartTime ?? '';
  return ['spinnaker', trigger.execution.id, trigger.stage?.refId ?? trigger.stage?.id ?? '', restart].join(
    '/',
  );
}

function spinnakerExecution(trigger: z.output<typeof triggerSchema>): SpinnakerExecution | undefined {
  const { execution, stage } = trigger;
  if (!execution) return undefined;
  return {
    executionId: execution.id,
    application: execution.application,
    pipeline: execution.name,
    stage: stage?.refId ?? stage?.id,
  };
}

/** Orca sends an expression that it could not evaluate as it is; acting on the text would be worse than refusing it. */
function refuseUnresolved(body: unknown, path: readonly string[] = []): void {
  if (typeof body === 'string' && body.includes('${')) {
    throw new ThroughlineError(
      'TL_REQUEST_INVALID',
      `The field ${path.join('.') || 'body'} holds an unresolved expression`,
      {
        expected: 'a value, not a pipeline expression',
        found: 'an expression that Spinnaker could not evaluate',
        hint: 'Check the expression in the webhook stage’s payload.',
      },
    );
  }
  if (typeof body !== 'object' || body === null || path.length > 20) return;
  for (const [name, value] of Object.entries(body)) refuseUnresolved(value, [...path, name]);
}

function invalidTrigger(error: z.ZodError): ThroughlineError {
  const problems = error.issues.flatMap((issue): Problem[] => {
    const at = issue.path.join('.') || 'the body';
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        code: 'TL_REQUEST_INVALID',
        message: `Unknown field ${JSON.stringify(key.slice(0, 100))} in ${at}`,
      }));
    }
    const expected =
      issue.code === 'invalid_key'
        ? issue.issues[0]?.message
        : issue.code === 'invalid_type'
          ? issue.expected
          : issue.message;
    return [
      {
        code: 'TL_REQUEST_INVALID',
        message: `The field ${at} is not valid`,
        expected: expected?.replace(/^expected /, ''),
      },
    ];
  });
  const [first, ...also] = problems;
  return ThroughlineError.from({
    ...(first ?? { code: 'TL_REQUEST_INVALID', message: 'The request is not valid' }),
    ...(also.length > 0 ? { also: also.slice(0, 20) } : {}),
  });
}

function sorted(parameters: Readonly<Record<string, string>>): [string, string][] {
  return Object.entries(parameters).sort(([a], [b]) => (a < b ? -1 : 1));
}
