// Tokens of a GitHub App: an hour long, of one repository, made with the App's key when one is needed.
import { readFile } from 'node:fs/promises';
import { createAppAuth } from '@octokit/auth-app';
import { request } from '@octokit/request';
import { EnvHttpProxyAgent, fetch } from 'undici';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import type { GitHubAppSettings } from '../policy/git.js';
import { withoutSecrets } from './secrets.js';

/** A token is used no longer than until this long before its end: a push may take minutes. */
const MARGIN_MS = 10 * 60_000;
const ANSWER_MS = 20_000;

interface InstallationToken {
  readonly token: string;
  readonly until: number;
}

export class GitHubApp {
  private readonly tokens = new Map<string, Promise<InstallationToken>>();
  private readonly proxies = new EnvHttpProxyAgent(); // as git itself, by HTTPS_PROXY and NO_PROXY

  constructor(
    private readonly settings: GitHubAppSettings,
    private readonly now: () => number = Date.now,
  ) {}

  /** A token for a repository's path, `/owner/name`. Throws TL_REPOSITORY_DENIED and TL_REPOSITORY_UNREACHABLE. */
  async token(path: string, signal?: AbortSignal): Promise<string> {
    signal?.throwIfAborted();
    const known = await this.tokens.get(path)?.catch(() => undefined);
    if (known && known.until > this.now()) return known.token;
    // Whoever asks meanwhile waits for the same one. It is not of one caller: no caller's signal ends it.
    const made = this.make(path);
    this.tokens.set(path, made);
    made.catch(() => this.tokens.delete(path));
    return (await made).token;
  }

  private async make(path: string): Promise<InstallationToken> {
    const [, owner = '', repository = ''] = /^\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
    if (repository === '') {
      throw new ThroughlineError('TL_REPOSITORY_DENIED', `A GitHub App reaches no repository at ${path}`, {
        expected: 'the path of a repository on GitHub: /OWNER/NAME',
      });
    }
    const privateKey = await this.privateKey();
    try {
      const ask = request.defaults({
        baseUrl: this.settings.apiUrl.replace(/\/+$/, ''),
        request: { fetch: this.fetch },
      });
      const auth = createAppAuth({ appId: this.settings.appId, privateKey, request: ask });
      const installationId =
        this.settings.installationId ?? (await installationOf(ask, auth, { owner, repo: repository }));
      const { token, expiresAt } = await auth({
        type: 'installation',
        installationId: Number(installationId),
        repositoryNames: [repository],
      });
      return { token, until: Date.parse(expiresAt) - MARGIN_MS };
    } catch (error) {
      throw failureOf(error, `${owner}/${repository}`);
    }
  }

  private async privateKey(): Promise<string> {
    const file = this.settings.privateKey;
    const text = await readFile(file, 'utf8').catch((cause) => {
      throw new ThroughlineError('TL_CONFIG_INVALID', `The key ${file} cannot be read`, {
        found: messageOf(cause),
      });
    });
    if (/-----BEGIN (?:RSA )?PRIVATE KEY-----/.test(text)) return text;
    throw new ThroughlineError('TL_CONFIG_INVALID', `There is no key of a GitHub App in ${file}`, {
      expected: 'the PEM file that GitHub made for the App',
    });
  }

  private readonly fetch = (url: string, options: Record<string, unknown>) =>
    fetch(url, { ...options, dispatcher: this.proxies, signal: AbortSignal.timeout(ANSWER_MS) });
}

/** GET /repos/{owner}/{repo}/installation: which installation of the App sees the repository. */
export async function installationOf(
  ask: typeof request,
  auth: ReturnType<typeof createAppAuth>,
  repository: { readonly owner: string; readonly repo: string },
): Promise<number> {
  const { token } = await auth({ type: 'app' });
  const headers = { authorization: `bearer ${token}` };
  const { data } = await ask('GET /repos/{owner}/{repo}/installation', { ...repository, headers });
  return data.id;
}

function failureOf(error: unknown, repository: string): ThroughlineError {
  if (error instanceof ThroughlineError) return error;
  const { status = 0, response } = error as {
    status?: number;
    response?: { headers?: Record<string, unknown> };
  };
  const found = withoutSecrets(messageOf(error)).slice(0, 500);
  const limited =
    status === 429 ||
    response?.headers?.['x-ratelimit-remaining'] === '0' ||
    response?.headers?.['retry-after'] !== undefined;
  if ((status === 401 || status === 403 || status === 404 || status === 422) && !limited) {
    return new ThroughlineError('TL_REPOSITORY_DENIED', `GitHub gives the App no token for ${repository}`, {
      found: `${status}: ${found}`,
      hint:
        status === 401
          ? 'The App’s id and its key belong together, and the clock of the worker has to be right.'
          : 'Install the App for the repository, with read and write access to its contents.',
    });
  }
  return new ThroughlineError('TL_REPOSITORY_UNREACHABLE', 'GitHub’s API does not answer', { found });
}
