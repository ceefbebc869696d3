// Git over HTTP as servers offer it: git's own http-backend behind a server that asks who somebody is, and a GitHub that
// makes tokens for an App whose signature it has verified.
import { spawn } from 'node:child_process';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type CryptoKey, jwtVerify, type KeyObject } from 'jose';

export interface GitHttp {
  readonly url: string;
  /** Who asked, one for each request: the header as it came, or nothing. */
  readonly asked: (string | undefined)[];
  /** Answers all that follow with a status and a text, instead of git. */
  answer:
    | { readonly status: number; readonly headers?: Record<string, string>; readonly body?: string }
    | undefined;
  stop(): Promise<void>;
}

/** `lets` says whether somebody with these words may do what they ask for. */
export async function startGitHttp(
  root: string,
  lets: (user: string, password: string, request: IncomingMessage) => boolean,
): Promise<GitHttp> {
  const state: Pick<GitHttp, 'asked' | 'answer'> = { asked: [], answer: undefined };
  const server = createServer((request, response) => {
    const { authorization } = request.headers;
    state.asked.push(authorization);
    const { answer } = state;
    if (answer) {
      response.writeHead(answer.status, answer.headers).end(answer.body ?? '');
      return;
    }
    const [user = '', ...rest] = Buffer.from(authorization?.replace(/^Basic /, '') ?? '', 'base64')
      .toString()
      .split(':');
    if (authorization === undefined || !lets(user, rest.join(':'), request)) {
      response.writeHead(401, { 'www-authenticate': 'Basic realm="git"' }).end('Unauthorized');
      return;
    }
    backend(root, request, response);
  });
  const { url, stop } = await listen(server);
  return Object.assign(state, { url, stop });
}

/** git-http-backend(1), as a CGI program. */
function backend(root: string, request: IncomingMessage, response: ServerResponse): void {
  const { pathname, search } = new URL(request.url ?? '/', 'http://localhost');
  const { headers } = request;
  const child = spawn('git', ['http-backend'], {
    env: {
      PATH: process.env.PATH,
      GIT_PROJECT_ROOT: root,
      GIT_HTTP_EXPORT_ALL: '1',
      REMOTE_USER: 'somebody', // which lets it receive a push
      REMOTE_ADDR: '127.0.0.1',
      REQUEST_METHOD: request.method,
      PATH_INFO: pathname,
      QUERY_STRING: search.slice(1),
      CONTENT_TYPE: headers['content-type'] ?? '',
      HTTP_CONTENT_ENCODING: headers['content-encoding'] ?? '',
      GIT_PROTOCOL: String(headers['git-protocol'] ?? ''),
      ...(headers['content-length'] ? { CONTENT_LENGTH: headers['content-length'] } : {}),
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  request.pipe(child.stdin).on('error', () => undefined);
  let head = Buffer.alloc(0);
  let begun = false;
  child.stdout.on('data', (part: Buffer) => {
    if (begun) {
      response.write(part);
      return;
    }
    head = Buffer.concat([head, part]);
    const end = head.indexOf('\r\n\r\n');
    if (end < 0) return;
    begun = true;
    const fields = head
      .subarray(0, end)
      .toString()
      .split('\r\n')
      .map((line) => line.split(/: (.*)/s).slice(0, 2) as [string, string]);
    const status = Number(fields.find(([name]) => name === 'Status')?.[1].slice(0, 3) ?? 200);
    response.writeHead(status, Object.fromEntries(fields.filter(([name]) => name !== 'Status')));
    response.write(head.subarray(end + 4));
  });
  child.once('close', () => response.end());
}

export interface FakeGitHub {
  readonly url: string;
  /** Tokens that were made, the latest last. */
  readonly tokens: { readonly token: string; readonly repositories: readonly string[] }[];
  /** How many requests came. */
  requests: number;
  stop(): Promise<void>;
}

/** GitHub's two endpoints of an App that is installed for one repository; its own clock and key say who asks. */
export async function startGitHub(options: {
  readonly appId: string;
  readonly publicKey: CryptoKey | KeyObject;
  readonly repository: string;
  readonly secondsValid: number;
}): Promise<FakeGitHub> {
  const INSTALLATION = 4711;
  const tokens: FakeGitHub['tokens'] = [];
  const seen = { requests: 0 };
  const server = createServer(async (request, response) => {
    seen.requests += 1;
    const say = (status: number, body: unknown) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    let text = '';
    for await (const part of request) text += part;
    const jwt = /^bearer (.+)$/i.exec(request.headers.authorization ?? '')?.[1] ?? '';
    const verified = await jwtVerify(jwt, options.publicKey, {
      issuer: options.appId,
      algorithms: ['RS256'],
    }).catch(() => undefined);
    if (!verified) return say(401, { message: 'A JSON web token could not be decoded' });
    if (request.method === 'GET' && request.url === `/repos/${options.repository}/installation`)
      return say(200, { id: INSTALLATION });
    if (request.method === 'POST' && request.url === `/app/installations/${INSTALLATION}/access_tokens`) {
      const { repositories = [] } = JSON.parse(text || '{}') as { repositories?: string[] };
      const token = `ghs_${String(tokens.length).padStart(36, '0')}`;
      tokens.push({ token, repositories });
      const expires = new Date(Date.now() + options.secondsValid * 1000).toISOString();
      return say(201, {
        token,
        expires_at: expires,
        permissions: { contents: 'write' },
        repository_selection: 'selected',
      });
    }
    return say(404, { message: 'Not Found' });
  });
  const { url, stop } = await listen(server);
  return Object.assign(seen, { url, tokens, stop });
}

async function listen(server: Server): Promise<{ url: string; stop(): Promise<void> }> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}`,
    stop: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
