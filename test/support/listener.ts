// Somebody who is told of releases: keeps what it took, and can be away, slow or wrong.
import { createServer, type Server } from 'node:http';

export interface Received {
  readonly path: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export class Listener {
  readonly received: Received[] = [];
  /** What it answers; undefined closes the connection without a word. */
  answer: number | undefined = 204;
  private constructor(
    private readonly server: Server,
    readonly url: string,
  ) {}

  static async start(): Promise<Listener> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const listener = new Listener(server, `http://127.0.0.1:${port}`);
    server.on('request', (request, response) => {
      let body = '';
      request.setEncoding('utf8').on('data', (text) => {
        body += text;
      });
      request.on('end', () => {
        if (listener.answer === undefined) {
          response.destroy();
          return;
        }
        if (listener.answer < 300) {
          listener.received.push({ path: request.url ?? '', headers: request.headers, body });
        }
        response.writeHead(listener.answer).end();
      });
    });
    return listener;
  }

  stop(): Promise<void> {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(() => resolve()));
  }
}
