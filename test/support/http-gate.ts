// A way to a server that can be held up: where a worker is killed between two requests is not left to chance.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

type Which = (method: string, path: string) => boolean;

export interface Stall {
  /** When a request is held up. */
  readonly met: Promise<void>;
  /** From then on all pass; what was held up gets no answer. */
  readonly end: () => void;
}

export class HttpGate {
  private stalled: { which: Which; where: 'request' | 'reply'; met: () => void } | undefined;

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(target: string): Promise<HttpGate> {
    const server = createServer((request, response) => void gate.pass(target, request, response));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const gate: HttpGate = new HttpGate(server, `http://127.0.0.1:${(server.address() as AddressInfo).port}`);
    return gate;
  }

  /** Holds up requests, before the server gets them or before its reply is passed on. */
  stall(which: Which, where: 'request' | 'reply' = 'request'): Stall {
    let met: () => void = () => undefined;
    const meeting = new Promise<void>((resolve) => {
      met = resolve;
    });
    this.stalled = { which, where, met };
    return {
      met: meeting,
      end: () => {
        this.stalled = undefined;
      },
    };
  }

  async stop(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async pass(target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = 'GET', url: path = '/' } = request;
    const { stalled } = this;
    const held = stalled?.which(method, path) ? stalled : undefined;
    if (held?.where === 'request') return held.met();
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { host: _, connection: __, 'content-length': ___, ...headers } = request.headers;
    const answer = await fetch(`${target}${path}`, {
      method,
      headers: headers as Record<string, string>,
      redirect: 'manual',
      ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
    }).catch(() => undefined);
    if (held) return held.met();
    if (!answer) {
      response.destroy();
      return;
    }
    const {
      'content-encoding': _a,
      'content-length': _b,
      'transfer-encoding': _c,
      ...kept
    } = Object.fromEntries(answer.headers);
    response.writeHead(answer.status, kept);
    response.end(Buffer.from(await answer.arrayBuffer()));
  }
}
