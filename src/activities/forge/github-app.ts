// Tokens of a GitHub App: an hour each, for the installation that has the repository. "Authenticating as a GitHub App
// installation".
import { createAppAuth } from '@octokit/auth-app';
import { installationOf } from '../../git/index.js';
import type { GitHubTokens } from './github.js';
import { octokit } from './github-api.js';

export interface GitHubApp {
  readonly appId: number | string;
  /** PEM. */
  readonly privateKey: string;
  readonly installationId?: number | undefined;
}

/** They are kept until a minute before they end, for every activity: so none of them cancels the request for one. */
export function appTokens(apiUrl: string, { appId, privateKey, installationId }: GitHubApp): GitHubTokens {
  const { request } = octokit(apiUrl, new AbortController().signal, {});
  const authenticate = createAppAuth({ appId, privateKey, request });
  const installations = new Map<string, number>();

  const knownInstallation = async (owner: string, repo: string): Promise<number> => {
    const known = installationId ?? installations.get(`${owner}/${repo}`);
    if (known !== undefined) return known;
    const found = await installationOf(request, authenticate, { owner, repo });
    installations.set(`${owner}/${repo}`, found);
    return found;
  };

  return async ({ owner, repo }) => {
    const installation = await knownInstallation(owner, repo);
    return (await authenticate({ type: 'installation', installationId: installation })).token;
  };
}
