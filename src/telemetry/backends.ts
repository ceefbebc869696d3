// Where traces are kept that are not ours: how a prediction's trace leads to its release, by its link.
import { z } from 'zod';
import { type SeenSpan, spansOfTrace } from './seen.js';

/** The one question that lineage has to a trace backend. */
export interface LinkedTraces {
  /** Traces that spans of a trace link to. None where the backend does not know the trace, or does not answer. */
  linkedFrom(traceId: string): Promise<readonly string[]>;
}

const TIMEOUT_MS = 5_000;

/** The receiver of `throughline dev`. */
export const devTraces = (url: string): LinkedTraces => ({
  linkedFrom: async (traceId) =>
    linksOf((await spansOfTrace(url, traceId)).filter((span) => span.traceId === traceId)),
});

/** Jaeger's query API: an OTLP link is a reference of type FOLLOWS_FROM. */
const jaegerSchema = z.object({
  data: z
    .array(
      z.object({
        spans: z.array(
          z.object({
            traceID: z.string(),
            spanID: z.string(),
            operationName: z.string(),
            processID: z.string(),
            references: z
              .array(z.object({ refType: z.string(), traceID: z.string(), spanID: z.string() }))
              .default([]),
            tags: z.array(z.object({ key: z.string(), value: z.unknown() })).default([]),
            logs: z.array(z.unknown()).nullish(),
          }),
        ),
        processes: z.record(z.string(), z.object({ serviceName: z.string() })),
      }),
    )
    .nullish(),
});

export type JaegerSpan = Pick<
  SeenSpan,
  'traceId' | 'spanId' | 'name' | 'service' | 'attributes' | 'links'
> & {
  /** How many. */
  readonly events: number;
};

/** The spans of a trace, as Jaeger's query API at `query` has them. */
export async function jaegerTrace(query: string, id: string): Promise<JaegerSpan[]> {
  const response = await fetch(`${query.replace(/\/+$/, '')}/api/traces/${id}`, {
    signal: AbortSignal.timeout(TIMEOUT_MS),
  });
  if (response.status === 404) return [];
  const { data } = jaegerSchema.parse(await response.json());
  return (data ?? []).flatMap(({ spans, processes }) =>
    spans.map((span) => ({
      traceId: span.traceID,
      spanId: span.spanID,
      name: span.operationName,
      service: processes[span.processID]?.serviceName ?? '',
      attributes: Object.fromEntries(span.tags.map(({ key, value }) => [key, value])),
      links: span.references
        .filter(({ refType }) => refType === 'FOLLOWS_FROM')
        .map(({ traceID, spanID }) => ({ traceId: traceID, spanId: spanID })),
      events: span.logs?.length ?? 0,
    })),
  );
}

export const jaegerTraces = (query: string): LinkedTraces => ({
  linkedFrom: (traceId) => jaegerTrace(query, traceId).then(linksOf, () => []),
});

/** What of OTLP's JSON is read here; ids are hex digits, or base64 as Tempo has them. */
const tempoSchema = z.object({
  trace: z
    .object({
      resourceSpans: z
        .array(
          z.object({
            scopeSpans: z
              .array(
                z.object({
                  spans: z
                    .array(z.object({ links: z.array(z.object({ traceId: z.string() })).default([]) }))
                    .default([]),
                }),
              )
              .default([]),
          }),
        )
        .default([]),
    })
    .nullish(),
});

/** Tempo's query API, version 2. */
export const tempoTraces = (query: string): LinkedTraces => ({
  async linkedFrom(traceId) {
    try {
      const response = await fetch(`${query.replace(/\/+$/, '')}/api/v2/traces/${traceId}`, {
        headers: { accept: 'application/json' },
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const { trace } = tempoSchema.parse(await response.json());
      const links = (trace?.resourceSpans ?? [])
        .flatMap(({ scopeSpans }) => scopeSpans)
        .flatMap(({ spans }) => spans)
        .flatMap((span) => span.links);
      return [...new Set(links.map((link) => hexOf(link.traceId)))];
    } catch {
      return [];
    }
  },
});

const hexOf = (id: string) =>
  /^[0-9a-f]{32}$/.test(id) ? id : Buffer.from(id, 'base64').toString('hex').padStart(32, '0');

function linksOf(spans: readonly Pick<SeenSpan, 'links'>[]): string[] {
  return [...new Set(spans.flatMap(({ links }) => links.map((link) => link.traceId)))];
}

/** As configured: `THROUGHLINE_JAEGER_URL` or `THROUGHLINE_TEMPO_URL`, the base of the query API. */
export function configuredTraces(env: NodeJS.ProcessEnv = process.env): LinkedTraces | undefined {
  if (env.THROUGHLINE_JAEGER_URL) return jaegerTraces(env.THROUGHLINE_JAEGER_URL);
  if (env.THROUGHLINE_TEMPO_URL) return tempoTraces(env.THROUGHLINE_TEMPO_URL);
  return undefined;
}
