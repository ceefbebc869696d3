// What a trigger may say, and how it becomes a release request. The same for the gateway, for Spinnaker and for the CLI.
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { type Problem, ThroughlineError } from '../domain/errors.js';
import { type ReleaseId, releaseIdOf, sha256Hex } from '../domain/ids.js';
import type { ReleaseRequest, ReleaseScope, SpinnakerExecution } from '../domain/release.js';
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
const spinnakerName = text(1_000).or(z.literal(''));

/** A branch, a tag or a commit. Spinnaker sends empty text where it has none. */
const refName = text(255)
  // git-check-ref-format(1); an option is never a ref
  .regex(/^(?!-)(?!.*(?:\.\.|@\{|\/\/))[^ ~^:?*[\\]+$/, 'expected a branch, a tag or a commit')
  .or(z.literal(''));

/** Body of `POST /v1/releases`. Spinnaker's objects are read for what is known of them, and otherwise let through. */
export const triggerSchema = z.strictObject({
  repository: text(2048).describe('URL of the model’s repository'),
  ref: refName
    .nullish()
    .describe('Branch, tag or commit. Default: the trigger’s commit or branch, else the default branch'),
  plan: text(1024)
    .or(z.literal(''))
    .nullish()
    .describe(`Path of the plan in the repository; ${DEFAULT_PLAN_PATH} where it is absent`),
  parameters: parametersSchema.default({}).describe('Overrides of the plan’s train.parameters'),
  idempotencyKey: text(500)
    .optional()
    .describe('Repeating a trigger with the same key returns the same release'),
  traceparent: z
    .string()
    .max(512)
    .optional()
    .describe('W3C Trace Context of the caller, instead of the header'),
  executionTrace: z
    .boolean()
    .default(false)
    .describe('Join the trace that Echo derives from the execution’s id, where there is no traceparent'),
  tracestate: text(512).optional(),
  baggage: text(8192).optional(),
  execution: z
    .looseObject({ id: spinnakerId, application: spinnakerName.nullish(), name: spinnakerName.nullish() })
    .optional()
    .describe('Spinnaker’s execution'),
  stage: z
    .looseObject({
      id: spinnakerId.nullish(),
      refId: spinnakerId.nullish(),
      context: z
        .looseObject({
          restartDetails: z
            .looseObject({ restartTime: z.union([z.number(), z.string().max(100)]).nullish() })
            .nullish(),
        })
        .nullish(),
    })
    .optional()
    .describe('Spinnaker’s stage'),
  trigger: z
    .looseObject({
      hash: text(1_000).or(z.literal('')).nullish(),
      branch: text(1_000).or(z.literal('')).nullish(),
      user: text(255).or(z.literal('')).nullish(),
    })
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
  /** Who the caller is, by its credentials. */
  readonly triggeredBy?: string | undefined;
  /** What it may release; everything where that is not said. */
  readonly within?: readonly ReleaseScope[] | undefined;
  /** Seconds after which the release is canceled where nobody asks for it. */
  readonly pollLease?: number | undefined;
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
  const trigger = parseBody(triggerSchema, body);
  const { idempotencyKey, tracestate, baggage } = context;
  parseBody(besidesSchema, { idempotencyKey, tracestate, baggage });
  checkRepositoryUrl(trigger.repository);
  const planPath = normalizePath(trigger.plan || DEFAULT_PLAN_PATH);
  const ref = trigger.ref || trigger.trigger?.hash || trigger.trigger?.branch || 'HEAD';
  checkRef(ref);
  const spinnaker = spinnakerExecution(trigger);
  const key = trigger.idempotencyKey ?? context.idempotencyKey ?? spinnakerKey(trigger) ?? randomUUID();
  const release = releaseIdOf(key);
  const callerText =
    (trigger.traceparent || undefined) ??
    (context.traceparent || undefined) ??
    (trigger.executionTrace && trigger.execution ? executionTraceparent(trigger.execution.id) : undefined);
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
      requestedBy: trigger.trigger?.user || context.requestedBy,
      ...(context.triggeredBy === undefined ? {} : { triggeredBy: context.triggeredBy }),
      ...(context.within === undefined ? {} : { within: context.within }),
      ...(context.pollLease === undefined ? {} : { pollLease: context.pollLease }),
      requestedAt: context.at.toISOString(),
    },
    fingerprint: sha256Hex(
      JSON.stringify([trigger.repository, ref, planPath, sorted(trigger.parameters)]),
    ).slice(0, 32),
  };
}

/** The trigger's own, where the payload names none: only what is used has to be one. */
function checkRef(ref: string): void {
  const parsed = refName.safeParse(ref);
  if (parsed.success) return;
  throw new ThroughlineError('TL_REQUEST_INVALID', 'The trigger’s commit or branch is not valid', {
    expected: 'a branch, a tag or a commit; or `ref` in the payload',
    found: ref.slice(0, 100),
  });
}

/** Spinnaker's key (FACTS): the execution, the stage's place in it, and its restart. */
function spinnakerKey(trigger: z.output<typeof triggerSchema>): string | undefined {
  if (!trigger.execution) return undefined;
  return executionKey(trigger.execution, trigger.stage);
}

function executionKey(
  execution: NonNullable<z.output<typeof triggerSchema>['execution']>,
  stage: z.output<typeof triggerSchema>['stage'],
): string {
  const restart = stage?.context?.restartDetails?.restartTime ?? '';
  return ['spinnaker', execution.id, stage?.refId ?? stage?.id ?? '', restart].join('/');
}

function spinnakerExecution(trigger: z.output<typeof triggerSchema>): SpinnakerExecution | undefined {
  const { execution, stage } = trigger;
  if (!execution) return undefined;
  return {
    executionId: execution.id,
    application: execution.application ?? undefined,
    pipeline: execution.name ?? undefined,
    stage: stage?.refId ?? stage?.id ?? undefined,
  };
}

/** What of a trigger may come by headers: held to the same rules. */
const besidesSchema = triggerSchema.pick({ idempotencyKey: true, tracestate: true, baggage: true });

/** Orca sends an expression that it could not evaluate as it is; acting on the text would be worse than refusing it. */
export function refuseUnresolved(body: unknown): void {
  const left: { readonly value: unknown; readonly path: string }[] = [{ value: body, path: '' }];
  for (let next = left.pop(); next; next = left.pop()) {
    const { value, path } = next;
    if (typeof value === 'string' && value.includes('${')) throw unresolved(path);
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, one] of Object.entries(value)) {
      if (name.includes('${')) throw unresolved(path);
      left.push({ value: one, path: path.length > 200 ? path : [path, name].filter(Boolean).join('.') });
    }
  }
}

function unresolved(path: string): ThroughlineError {
  return new ThroughlineError(
    'TL_REQUEST_INVALID',
    `The field ${path.slice(0, 200) || 'body'} holds an unresolved expression`,
    {
      expected: 'a value, not a pipeline expression',
      found: 'an expression that Spinnaker could not evaluate',
      hint: 'Check the expression in the webhook stage’s payload.',
    },
  );
}

/** Body of `POST /v1/releases/cancel`: the key of a trigger, as the trigger had it. */
export const cancelSchema = z
  .strictObject({
    idempotencyKey: triggerSchema.shape.idempotencyKey,
    execution: triggerSchema.shape.execution,
    stage: triggerSchema.shape.stage,
  })
  .refine(({ idempotencyKey, execution }) => idempotencyKey !== undefined || execution !== undefined, {
    message: 'expected idempotencyKey, or execution and stage, as the trigger had them',
  });

/** Body of `POST /v1/releases/{id}/approve` and `…/reject`. */
export const decisionSchema = z.strictObject({
  comment: text(1_000).optional().describe('Why'),
  environment: text(100).optional().describe('Which deployment; the one that waits where it is absent'),
  by: text(200)
    .optional()
    .describe('Who, where the gateway asks for no credentials; otherwise it is whose they are'),
});

/** The release that a trigger with this key started, or would start. Throws TL_REQUEST_INVALID. */
export function releaseOfKey(body: unknown, header: string | undefined): ReleaseId {
  const given = body ?? {};
  const { idempotencyKey, execution, stage } = parseBody(
    cancelSchema,
    header !== undefined && Object.keys(given).length === 0 ? { idempotencyKey: header } : given,
  );
  return releaseIdOf(idempotencyKey ?? header ?? (execution ? executionKey(execution, stage) : ''));
}

/** Throws TL_REQUEST_INVALID, naming every field that is wrong. */
export function parseBody<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
  const value = unquoted(body);
  refuseUnresolved(value);
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw invalidTrigger(parsed.error);
  return parsed.data;
}

/** A payload that was a string may arrive as a JSON string with JSON in it. */
function unquoted(body: unknown): unknown {
  if (typeof body !== 'string') return body;
  try {
    return JSON.parse(body);
  } catch {
    return body;
  }
}

/** Spinnaker's Echo: the trace and its root span are the first bytes of the SHA-256 of the execution's id. */
function executionTraceparent(execution: string): string {
  const hash = sha256Hex(execution);
  return `00-${hash.slice(0, 32)}-${hash.slice(32, 48)}-01`;
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
