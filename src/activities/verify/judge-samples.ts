// What Prometheus answers to an instant query, whether that is as expected, and for how long it has been. Pure.
import { z } from 'zod';
import type { PrometheusCheck } from '../../plan/index.js';
import { boundsOf, shorten } from './judge-answer.js';
import type { Answer } from './requests.js';

/** One value, and what it is of. */
export interface Sample {
  readonly of: string;
  readonly value: number;
}

/** What an answer says: values; or why there are none, which passes or does not. */
export type Reading =
  | { readonly samples: readonly Sample[]; readonly warnings: readonly string[] }
  | { readonly failed: string }
  | { readonly away: string };

const value = z.tuple([z.number(), z.string()]);
const vector = z.object({ metric: z.record(z.string(), z.string()), value: value.optional() });

/** Prometheus documentation, "HTTP API": the format of answers, instant queries, expression query result formats. */
const answered = z.object({
  status: z.enum(['success', 'error']),
  errorType: z.string().optional(),
  error: z.string().optional(),
  warnings: z.array(z.string()).default([]),
  data: z
    .discriminatedUnion('resultType', [
      z.object({ resultType: z.literal('vector'), result: z.array(vector) }),
      z.object({ resultType: z.literal('scalar'), result: value }),
      z.object({ resultType: z.enum(['matrix', 'string']), result: z.unknown() }),
    ])
    .optional(),
});

/** Statuses of somebody who may answer later (RFC 9110, RFC 6585). */
const LATER = new Set([408, 425, 429]);

export function readSamples({ status, body, cut }: Answer): Reading {
  if (cut) return { failed: 'an answer of more than 1 MiB; aggregate in the query' };
  const parsed = answered.safeParse(jsonOf(body));
  if (!parsed.success) {
    const text = `status ${status}, which is no answer of Prometheus: ${shorten(body)}`;
    return status >= 400 && status < 500 && !LATER.has(status) ? { failed: text } : { away: text };
  }
  const { data, error, errorType, warnings } = parsed.data;
  if (parsed.data.status === 'error') {
    const text = `${errorType ?? 'error'}: ${shorten(error ?? '')}`;
    return status >= 500 || LATER.has(status) ? { away: text } : { failed: text };
  }
  if (!data) return { away: `status ${status} without data` };
  if (data.resultType === 'scalar') {
    return { samples: [{ of: 'the scalar', value: numberOf(data.result[1]) }], warnings };
  }
  if (data.resultType !== 'vector') {
    return { failed: `a ${data.resultType}; expected a query of an instant vector or a scalar` };
  }
  const histogram = data.result.find((one) => one.value === undefined);
  if (histogram) return { failed: 'a native histogram; expected numbers, as histogram_quantile() gives' };
  const samples = data.result.map(({ metric, value: [, text] = [0, ''] }) => ({
    of: nameOf(metric),
    value: numberOf(text),
  }));
  return { samples, warnings };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** As Prometheus writes floats: `+Inf`, `-Inf` and `NaN` too. */
const numberOf = (text: string) => Number(text.replace(/^([+-]?)Inf$/, '$1Infinity'));

function nameOf({ __name__: name = '', ...labels }: Readonly<Record<string, string>>): string {
  const list = Object.entries(labels).map(([label, text]) => `${label}=${JSON.stringify(text)}`);
  return shorten(`${name}{${list.join(', ')}}`);
}

export type Judgement =
  | { readonly is: 'good'; readonly found: string }
  | { readonly is: 'bad'; readonly found: string }
  | { readonly is: 'missing'; readonly found: string };

type Threshold = Pick<PrometheusCheck, 'atLeast' | 'atMost' | 'equals'>;

/** Every series has to hold. A NaN is what comes of no traffic, and says nothing. */
export function judgeSamples(samples: readonly Sample[], threshold: Threshold): Judgement {
  if (samples.length === 0) return { is: 'missing', found: 'no series' };
  const bad = samples.find(({ value }) => !Number.isNaN(value) && !holds(value, threshold));
  const series = samples.length === 1 ? '' : ` (${samples.length} series)`;
  if (bad) return { is: 'bad', found: `${bad.value} of ${bad.of}${series}` };
  const nothing = samples.find(({ value }) => Number.isNaN(value));
  if (nothing) return { is: 'missing', found: `NaN of ${nothing.of}${series}` };
  const [first] = samples;
  return { is: 'good', found: `${first?.value} of ${first?.of}${series}` };
}

function holds(value: number, { atLeast, atMost, equals }: Threshold): boolean {
  if (equals !== undefined) return value === equals;
  return value >= (atLeast ?? Number.NEGATIVE_INFINITY) && value <= (atMost ?? Number.POSITIVE_INFINITY);
}

/** For how long it has held, and when that was seen last. */
export interface Held {
  readonly seconds: number;
  /** Milliseconds since 1970. */
  readonly at?: number | undefined;
}

export const NOT_HELD: Held = { seconds: 0 };

/**
 * Another look at which it held. A time in which nobody could look (a worker lost, Prometheus away) does not end what has
 * held so far, and does not count: between two looks at most twice their pause does.
 */
export function heldOn({ seconds, at }: Held, now: number, every: number): Held {
  if (at === undefined) return { seconds, at: now };
  return { seconds: seconds + Math.min(Math.max(0, now - at) / 1000, 2 * every), at: now };
}

export const thresholdOf = (check: PrometheusCheck): string => boundsOf(check);
