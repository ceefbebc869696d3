// A server that answers as a test says, and keeps what it was asked: for APIs that cannot be had on this machine.
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';

export interface Asked {
  readonly method: string;
  /** With its query, decoded. */
  readonly path: string;
  readonly headers: IncomingHttpHeaders;
  // What is asked is looked at in tests, whatever it is.
  readonly body: Record<string, unknown>;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export class Answering {
  readonly asked: Asked[] = [];

  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  /** `answer` gives undefined where there is nothing of that name: 404. */
  static async start(answer: (asked: Asked) => Answer | undefined): Promise<Answering> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const own = new Answering(server, `http://127.0.0.1:${port}`);
    server.on('request', (request, response) => {
      let text = '';
      request.setEncoding('utf8').on('data', (part) => {
        text += part;
      });
      request.on('end', () => {
        const asked = {
          method: request.method ?? '',
          path: decodeURIComponent(request.url ?? ''),
          headers: request.headers,
          body: (text ? JSON.parse(text) : {}) as Record<string, unknown>,
        };
        own.asked.push(asked);
        const {
          status = 200,
          headers = {},
          body,
        } = answer(asked) ?? { status: 404, body: { message: 'Not Found' } };
        response.writeHead(status, { 'content-type': 'application/json; charset=utf-8', ...headers });
        response.end(body === undefined ? undefined : JSON.stringify(body));
      });
    });
    return own;
  }

  /** What was asked, in short. */
  get said(): string[] {
    return this.asked.map(({ method, path }) => `${method} ${path}`);
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}
