// What a training program says of itself (DESIGN §4): JSON in RESULT_FILE, or, where that is empty, the last lines of
// its log. Pure, so that every kind of answer is tested without a program.
import { z } from 'zod';
import { ThroughlineError } from '../../domain/errors.js';
import type { NonFinite } from '../../domain/release.js';

/** Kubernetes cuts a termination message there (API reference, `terminationMessagePath`). */
export const MAX_RESULT_BYTES = 4096;

export interface TrainingReport {
  readonly modelId: string;
  readonly modelUri?: string | undefined;
  readonly modelDigest?: string | undefined;
  readonly metrics: Readonly<Record<string, number | NonFinite>>;
  readonly datasetDigest?: string | undefined;
}

const metric = z.union([z.number(), z.enum(['NaN', 'Infinity', '-Infinity'])]);

const reportSchema = z.object({
  model: z.object({
    id: z
      .string()
      .min(1)
      .max(200)
      .regex(/^[^\s\0-\x1f]+$/, 'expected an id without spaces'),
    uri: z.string().max(2048).optional(),
    digest: z.string().max(200).optional(),
  }),
  metrics: z
    .record(
      z.string().max(200),
      metric.nullable().transform((value) => value ?? 'NaN'),
    )
    .default({}),
  dataset: z.object({ digest: z.string().max(200).optional() }).optional(),
});

/** Reads what was written to RESULT_FILE; undefined where nothing was. Throws TL_RESULT_UNREADABLE. */
export function parseResultFile(text: string): TrainingReport | undefined {
  if (text.trim() === '') return undefined;
  if (Buffer.byteLength(text) > MAX_RESULT_BYTES) {
    throw unreadable(
      'The result is too long',
      `at most ${MAX_RESULT_BYTES} bytes, as Kubernetes keeps no more`,
      text,
    );
  }
  let value: unknown;
  try {
    value = JSON.parse(quoteNonFinite(text));
  } catch (error) {
    throw unreadable('The result is not valid JSON', 'one JSON object', text, error);
  }
  const parsed = reportSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw unreadable(
      `The result is not valid at ${issue?.path.join('.') || 'its root'}`,
      '{"model":{"id","uri","digest"},"metrics":{…},"dataset":{"digest"}}',
      text,
    );
  }
  const { model, metrics, dataset } = parsed.data;
  return {
    modelId: model.id,
    modelUri: model.uri,
    modelDigest: model.digest,
    metrics,
    datasetDigest: dataset?.digest,
  };
}

/** Python's json.dumps writes NaN and Infinity as they are, which no JSON parser takes; outside of strings they become strings. */
function quoteNonFinite(text: string): string {
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\b(?:NaN|Infinity)\b/g, (token) =>
    token.startsWith('"') ? token : `"${token}"`,
  );
}

/** Reads the last `MODEL_ID=` and `accuracy=` lines of a log; undefined where there is no model id. */
export function parseResultLog(log: string): TrainingReport | undefined {
  const modelId = lastMatch(log, /^MODEL_ID=(\S+)\s*$/gm);
  if (modelId === undefined) return undefined;
  const accuracy = lastMatch(log, /^accuracy=(\S+)\s*$/gm);
  return { modelId, metrics: accuracy === undefined ? {} : { accuracy: parseNumber(accuracy) } };
}

function parseNumber(text: string): number | NonFinite {
  const value = Number(text);
  if (Number.isFinite(value)) return value;
  if (/^-(?:inf|infinity)$/i.test(text)) return '-Infinity';
  return /^\+?(?:inf|infinity)$/i.test(text) ? 'Infinity' : 'NaN';
}

function lastMatch(text: string, pattern: RegExp): string | undefined {
  let last: string | undefined;
  for (const match of text.matchAll(pattern)) last = match[1];
  return last;
}

function unreadable(message: string, expected: string, found: string, cause?: unknown): ThroughlineError {
  return new ThroughlineError('TL_RESULT_UNREADABLE', message, {
    expected,
    found: found.length > 300 ? `${found.slice(0, 297)}…` : found,
    cause,
  });
}
