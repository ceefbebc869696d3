// Spans of programs and services, as the receiver of `throughline dev` has kept them, and how they are asked for.

export interface SeenEvent {
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly attributes: Readonly<Record<string, unknown>>;
}

export interface SeenSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string | undefined;
  readonly name: string;
  /** Milliseconds since 1970. */
  readonly start: number;
  readonly end: number;
  readonly failed: boolean;
  readonly events: readonly SeenEvent[];
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
}

/** The spans of a trace and those that link to it; none where the receiver does not answer. */
export async function spansOfTrace(url: string, traceId: string): Promise<readonly SeenSpan[]> {
  try {
    const response = await fetch(`${url}?trace=${traceId}`, { signal: AbortSignal.timeout(5_000) });
    return response.ok ? ((await response.json()) as SeenSpan[]) : [];
  } catch {
    return [];
  }
}
