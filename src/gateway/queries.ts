import { z } from 'zod';
import { ThroughlineError } from '../domain/errors.js';

const dateTime = z.iso.datetime({ offset: true, error: 'expected a time, as in 2026-01-31T14:05:00Z' });
const cursor = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{1,2000}$/, 'expected the cursor of an earlier page')
  .describe('Where an earlier page ended');

/** Query of `GET /v1/releases`. */
export const listQuerySchema = z.strictObject({
  model: z.string().min(1).max(100).optional().describe('The model’s name'),
  commit: z
    .string()
    .regex(/^[0-9a-f]{40}$/, 'expected 40 hex digits')
    .optional()
    .describe('The source commit, whole'),
  traceId: z
    .string()
    .regex(/^[0-9a-f]{32}$/, 'expected 32 hex digits')
    .optional()
    .describe('The release’s trace'),
  status: z.enum(['RUNNING', 'SUCCEEDED', 'REJECTED', 'FAILED', 'CANCELED', 'SUPERSEDED']).optional(),
  environment: z.string().min(1).max(100).optional().describe('Deploys there'),
  execution: z.string().min(1).max(200).optional().describe('Spinnaker’s execution'),
  startedAfter: dateTime.optional(),
  startedBefore: dateTime.optional(),
  limit: z.coerce.number().int().min(1).max(500).default(50).describe('How many at most'),
  cursor: cursor.optional(),
});

/** Query of `GET /v1/audit`. */
export const auditQuerySchema = z.strictObject({
  actor: z.string().min(1).max(200).optional().describe('Whose credentials'),
  release: z
    .string()
    .regex(/^rel-[a-z2-7]{20}$/, 'expected the id of a release')
    .optional(),
  outcome: z.enum(['accepted', 'refused']).optional(),
  limit: z.coerce.number().int().min(1).max(500).default(100).describe('How many at most'),
  cursor: cursor.optional(),
});

/** Query of `GET /v1/lineage`. */
export const servedQuerySchema = z.strictObject({
  environment: z.string().min(1).max(100).describe('The environment’s name'),
  at: dateTime.optional().describe('When; now where it is absent'),
});

/** Query of `GET /v1/drift`. */
export const driftQuerySchema = z.strictObject({
  environment: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .describe('The environment’s name; all where it is absent'),
});

/** Throws TL_REQUEST_INVALID. */
export function parseQuery<Schema extends z.ZodType>(schema: Schema, query: unknown): z.output<Schema> {
  const parsed = schema.safeParse(query);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new ThroughlineError(
    'TL_REQUEST_INVALID',
    `The parameter ${issue?.path.join('.') || 'list'} is not valid`,
    { expected: issue?.message },
  );
}
