// What decides whether a deployment is good: that it stays healthy, an HTTP probe, a Job, or a Prometheus query. As strict as
// the rest of the plan, and narrower than what it looks like, since the worker is who asks: no secrets, no way to another
// host than the one named.
import { z } from 'zod';
import { CHECK_KINDS } from '../domain/verification.js';
import { duration, label, path, SECRET_NAME } from './parts.js';
import {
  asPattern,
  fill,
  PLACEHOLDER_RULE,
  type PlaceholderValues,
  strangePlaceholder,
  textsOf,
} from './placeholders.js';
import { misplacedPlaceholder } from './promql.js';
import { parseValuesPath, valuesPath } from './target.js';

/** Stands for every value where a check is only looked at. */
const ANY_VALUES: PlaceholderValues = {
  'release.id': 'x',
  'model.name': 'x',
  'model.id': 'x',
  'image.digest': 'x',
  commit: 'x',
  environment: 'x',
};

/** Largest body that a probe sends: it is in every history of the plan. */
const MAX_BODY = 64 * 1024;
/** Longest pause between two looks; after a longer one nobody could say what was in between. Seconds. */
const MAX_PAUSE = 3_600;

const template = (most: number) =>
  z
    .string()
    .max(most)
    .refine((text) => strangePlaceholder(text) === undefined, PLACEHOLDER_RULE);

/** Longer than this nobody waits to hear whether something is good; timers reach no further than 24 days either. Seconds. */
const MAX_WAIT = 7 * 86_400;

const wait = duration.refine((seconds) => seconds <= MAX_WAIT, 'expected a duration of at most 7d');

const pause = duration.refine(
  (seconds) => seconds >= 0.1 && seconds <= MAX_PAUSE,
  'expected a duration between 100ms and 1h',
);

/** Why something is no URL that a check may have; undefined where it is one. */
function wrongUrl(text: string): string | undefined {
  const [, authority] = /^https?:\/\/([^/?#]*)/.exec(text) ?? [];
  if (authority === undefined) return 'expected https://… or http://…';
  if (authority.includes('{{')) return 'expected the same host for every release: no placeholder in it';
  if (authority.includes('@')) return 'expected a URL without user and password: secrets are never in a plan';
  const filled = fill(text, ANY_VALUES, (value) => value);
  if (/[\s\\]/.test(filled) || !URL.canParse(filled)) return 'expected a valid URL';
  const { hash, searchParams } = new URL(filled);
  if (hash) return 'expected a URL without fragment';
  const secret = [...searchParams.keys()].find((name) => SECRET_NAME.test(name.replaceAll('-', '_')));
  return secret && `expected no secret, which ${secret} looks like: a Job can read one from a Secret`;
}

const checkedUrl = (wrong: (text: string) => string | undefined) =>
  template(2048).superRefine((text, context) => {
    const message = wrong(text);
    if (message) context.addIssue({ code: 'custom', message });
  });

/** Names under which credentials travel (I9). */
const SECRET_HEADER = /auth|cookie|token|secret|passw|credential|api-?key|signature|session/i;
/** What belongs to the connection (RFC 9110, section 7.6.1), or is Throughline's own to say. */
const RESERVED_HEADER =
  /^(?:host|connection|content-length|transfer-encoding|upgrade|te|trailer|expect|keep-alive|proxy-.*|traceparent|tracestate|baggage)$/i;

const headers = z
  .record(
    z
      .string()
      .regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/, 'expected the name of a header')
      .refine((name) => !RESERVED_HEADER.test(name), 'expected another header: this one is set by the worker')
      .refine(
        (name) => !SECRET_HEADER.test(name),
        'expected no secret: a plan is kept and shown; a Job can read one from a Secret',
      ),
    template(1000).regex(/^[\x20-\x7e]*$/, 'expected ASCII text of one line'),
  )
  .refine((all) => Object.keys(all).length <= 20, 'expected at most 20 headers');

const bounds = z
  .strictObject({ atLeast: z.number().optional(), atMost: z.number().optional() })
  .refine(
    (rule) => rule.atLeast !== undefined || rule.atMost !== undefined,
    'expected atLeast, atMost, or both',
  );

const expectedJson = z.union(
  [template(1000), z.number(), z.boolean(), z.null(), bounds],
  'expected text, a number, a boolean, null, or { atLeast, atMost }',
);

const pattern = template(500).refine((text) => {
  try {
    new RegExp(fill(text, ANY_VALUES, asPattern), 'u');
    return true;
  } catch {
    return false;
  }
}, 'expected a regular expression of JavaScript, as with the flag u');

const expectedBody = z
  .strictObject({
    contains: template(1000).min(1).optional(),
    matches: pattern.optional().describe('A regular expression that finds something in it'),
    json: z
      .record(valuesPath, expectedJson)
      .refine(
        (all) => Object.keys(all).length >= 1 && Object.keys(all).length <= 50,
        'expected 1 to 50 paths',
      )
      .optional()
      .describe(
        'By path, as in model_id or outputs[0].score: what stands there, or between which numbers it is',
      ),
  })
  .refine((body) => Object.keys(body).length > 0, 'expected contains, matches or json');

const status = z.int().min(100).max(599);

const http = z
  .strictObject({
    url: checkedUrl(wrongUrl),
    method: z.enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']).optional(),
    headers: headers.optional(),
    body: z
      .union(
        [template(MAX_BODY), z.record(z.string(), z.json()), z.array(z.json())],
        'expected text, a map or a list',
      )
      .refine((body) => JSON.stringify(body).length <= MAX_BODY, `expected at most ${MAX_BODY} characters`)
      .refine(
        (body) => textsOf(body).every((text) => strangePlaceholder(text) === undefined),
        PLACEHOLDER_RULE,
      )
      .optional()
      .describe('Text, or a map or a list that is sent as JSON'),
    expect: z
      .strictObject({
        status: z
          .union([status, z.array(status).min(1).max(20)], 'expected a status between 100 and 599, or a list')
          .default(200)
          .transform((value) => (Array.isArray(value) ? value : [value])),
        body: expectedBody.optional(),
        within: duration.optional().describe('From the request to the last byte of the answer'),
      })
      .prefault({}),
    interval: pause.default(5).describe('Between two requests'),
    timeout: wait.default(5 * 60).describe('When it has to be good at the latest'),
    requestTimeout: wait.default(10).describe('Of one request'),
    attempts: z
      .int()
      .min(1)
      .max(10_000)
      .optional()
      .describe(
        'How many answers that are not as expected are enough to fail; without it the timeout decides',
      ),
    successes: z.int().min(1).max(1000).default(1).describe('How many good answers in a row it takes'),
  })
  .refine(({ method, body }) => body === undefined || !['GET', 'HEAD'].includes(method ?? 'POST'), {
    message: 'expected another method: a GET has no body',
    path: ['method'],
  })
  .transform((probe) => ({ ...probe, method: probe.method ?? (probe.body === undefined ? 'GET' : 'POST') }));

const job = z.strictObject({
  manifest: path.describe('An ordinary batch/v1 Job of the model’s repository; good where it succeeds'),
  timeout: wait.default(15 * 60),
});

/** What is added to `for` where the plan says no timeout: for metrics that are not there yet. Seconds. */
const SLACK = 5 * 60;

const prometheus = z
  .strictObject({
    url: checkedUrl((text) =>
      text.includes('?') || text.includes('{{')
        ? 'expected the address of Prometheus, without query and placeholders'
        : wrongUrl(text),
    ).describe('Without /api/v1'),
    headers: headers.optional(),
    query: z
      .string()
      .min(1)
      .max(4000)
      .refine((text) => strangePlaceholder(text) === undefined, PLACEHOLDER_RULE)
      .superRefine((text, context) => {
        const message = misplacedPlaceholder(text);
        if (message) context.addIssue({ code: 'custom', message });
      })
      .describe('PromQL of an instant vector or a scalar; every series has to be as expected'),
    atLeast: z.number().optional(),
    atMost: z.number().optional(),
    equals: z.number().optional(),
    for: wait.optional().describe('How long it has to hold; without it one look is enough'),
    every: pause.default(15),
    timeout: wait.optional().describe('When it has to have held at the latest; by default `for` and 5m'),
    noData: z
      .enum(['fail', 'wait'])
      .default('wait')
      .describe('What to do where there is no series, or NaN: fail at once, or wait until the timeout'),
  })
  .refine(
    ({ atLeast, atMost, equals }) =>
      equals === undefined
        ? atLeast !== undefined || atMost !== undefined
        : atLeast === undefined && atMost === undefined,
    { message: 'expected atLeast, atMost, or both; or equals alone', path: ['query'] },
  )
  .refine((check) => check.timeout === undefined || check.timeout > (check.for ?? 0), {
    message: 'expected a timeout after `for`',
    path: ['timeout'],
  })
  .transform((check) => ({
    ...check,
    for: check.for ?? 0,
    timeout: check.timeout ?? (check.for ?? 0) + SLACK,
  }));

const health = z
  .strictObject({
    for: wait.describe('How long it has to stay healthy, from its deployment on'),
    tolerance: wait
      .default(30)
      .describe('How long on end it may be ailing: a pod that moves to another node is, for a while'),
  })
  // Who has been ailing since the last moment of the window is waited for as long as anybody else.
  .transform((check) => ({ ...check, timeout: check.for + check.tolerance }));

const check = z
  .strictObject({
    name: label.describe('Of the check, in status and trace'),
    health: health
      .optional()
      .describe('That it stays healthy: by Argo CD, and by its pods; where the target has `argocd`'),
    http: http.optional(),
    job: job.optional(),
    prometheus: prometheus.optional(),
  })
  .refine((one) => CHECK_KINDS.filter((kind) => one[kind] !== undefined).length === 1, {
    message: 'expected exactly one of health, http, job and prometheus',
    path: ['name'],
  })
  .meta({ oneOf: CHECK_KINDS.map((kind) => ({ required: [kind] })) });

export const verifySchema = z
  .array(check)
  .max(10)
  .refine((all) => new Set(all.map(({ name }) => name)).size === all.length, 'expected each name once')
  .describe(
    'What decides, after the deployment and before the next one, whether it is good: all of it, at once',
  );

export type VerifyCheck = z.output<typeof check>;
export type HealthCheck = z.output<typeof health>;
export type HttpCheck = z.output<typeof http>;
export type JobCheck = z.output<typeof job>;
export type PrometheusCheck = z.output<typeof prometheus>;

/** A path of `expect.body.json` as the steps from the root of the answer. */
export const stepsOf = parseValuesPath;
