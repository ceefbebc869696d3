// The rules by which Spinnaker's webhook stage judges what it is answered (shared FACTS, "Spinnaker's webhook stage"), as a
// client: it creates, monitors and cancels as Orca does, and fails where Orca would end the stage.
import { request } from 'node:http';

export interface OrcaStage {
  readonly url: string;
  /** A string goes out as text/plain, anything else as chunked JSON. */
  readonly payload: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly successStatuses: string;
  readonly canceledStatuses: string;
  readonly terminalStatuses: string;
}

export interface OrcaAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** What becomes of the stage: it goes on, is tried again, or has ended. */
export type Verdict =
  | { readonly state: 'RUNNING' | 'RETRY'; readonly progress?: string }
  | {
      readonly state: 'SUCCEEDED' | 'CANCELED' | 'TERMINAL';
      readonly why: string;
      readonly body?: Monitored;
    };

export interface Monitored {
  readonly status: string;
  readonly progress: string;
  readonly result: Readonly<Record<string, unknown>>;
}

/** Sends as OkHttp does: a map without Content-Length, in chunks; a string as text. */
export function send(
  method: string,
  url: string,
  payload: unknown,
  headers: Readonly<Record<string, string>> = {},
): Promise<OrcaAnswer> {
  const { hostname, port, pathname, search } = new URL(url);
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        hostname,
        port,
        path: `${pathname}${search}`,
        method,
        headers: {
          ...(typeof payload === 'string'
            ? { 'content-type': 'text/plain; charset=UTF-8' }
            : payload === undefined
              ? {}
              : { 'content-type': 'application/json', 'transfer-encoding': 'chunked' }),
          ...headers,
        },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (some) => {
          text += some;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, text }),
        );
      },
    );
    outgoing.on('error', reject);
    if (payload !== undefined) {
      const text = typeof payload === 'string' ? payload : JSON.stringify(payload);
      const middle = Math.floor(text.length / 2);
      outgoing.write(text.slice(0, middle));
      outgoing.write(text.slice(middle));
    }
    outgoing.end();
  });
}

/** Whatever Orca is answered, it evaluates. */
export function evaluates(answer: OrcaAnswer): boolean {
  return `${JSON.stringify(answer.headers)}${answer.text}`.includes('${');
}

/** The create call: the URL to monitor. Throws where the stage would end. */
export async function create(stage: OrcaStage): Promise<{ answer: OrcaAnswer; statusUrl: string }> {
  const answer = await send('POST', stage.url, stage.payload, stage.headers);
  if (answer.status < 200 || answer.status >= 400) {
    throw new Error(`the stage ends, or is tried again: ${answer.status} ${answer.text}`);
  }
  const { location } = answer.headers;
  if (typeof location !== 'string' || !/^https?:\/\/[^/]+\//.test(location)) {
    throw new Error(`a Location that is not absolute ends the stage: ${location}`);
  }
  return { answer, statusUrl: location };
}

/** One look of the monitor task. */
export async function monitor(stage: OrcaStage, statusUrl: string): Promise<Verdict> {
  let answer: OrcaAnswer;
  try {
    answer = await send('GET', statusUrl, undefined, stage.headers);
  } catch (error) {
    if ((error as { code?: string }).code === 'ECONNREFUSED') return terminal('connection refused');
    return { state: 'RETRY' };
  }
  if (answer.status >= 500 || answer.status === 429) return { state: 'RETRY' };
  if (answer.status !== 200) return terminal(`status ${answer.status}`);
  if (!/^application\/(?:json|[^;]+\+json)/.test(String(answer.headers['content-type'])))
    return terminal(`content type ${answer.headers['content-type']}`);
  if (evaluates(answer)) return terminal('the answer is an expression');
  let body: Monitored;
  try {
    body = JSON.parse(answer.text) as Monitored;
  } catch {
    return terminal('no JSON');
  }
  if (body.status === undefined || body.status === null) return terminal('no status');
  if (typeof body.progress !== 'string') return terminal('a progress that is no string');
  const status = body.status.trim().toUpperCase();
  const among = (statuses: string) =>
    statuses
      .split(',')
      .map((one) => one.trim().toUpperCase())
      .includes(status);
  if (among(stage.successStatuses)) return { state: 'SUCCEEDED', why: status, body };
  if (among(stage.canceledStatuses)) return { state: 'CANCELED', why: status, body };
  if (among(stage.terminalStatuses)) return { state: 'TERMINAL', why: status, body };
  return { state: 'RUNNING', progress: body.progress };
}

const terminal = (why: string): Verdict => ({ state: 'TERMINAL', why });
