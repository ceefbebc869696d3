// Which forge a repository is on, as the configuration says, with its credentials: read when they are used, so that they
// can be changed without a restart.
import { readFile } from 'node:fs/promises';
import { messageOf, ThroughlineError } from '../../domain/errors.js';
import { redact } from '../../domain/urls.js';
import { endpointOf, type ForgeSettings, forgeOf } from '../../policy/forges.js';
import type { Forge } from './forge.js';
import { GiteaForge } from './gitea.js';
import { GitHubForge, type GitHubTokens } from './github.js';
import { appTokens } from './github-app.js';
import { GitLabForge } from './gitlab.js';
import { addressOf } from './repository.js';

export class Forges {
  /** Tokens of Apps, by what they were made of: they are good for an hour. */
  private readonly apps = new Map<string, GitHubTokens>();

  constructor(
    private readonly settings: readonly ForgeSettings[],
    private readonly env: NodeJS.ProcessEnv = process.env,
  ) {}

  /** Whether there is one for a repository. Reads nothing. */
  has(repository: string): boolean {
    return this.settingsOf(repository) !== undefined;
  }

  /** Throws TL_FORGE_UNKNOWN where none is configured, and TL_CONFIG_INVALID where its credentials cannot be read. */
  async of(repository: string): Promise<Forge> {
    const settings = this.settingsOf(repository);
    if (!settings) {
      throw new ThroughlineError('TL_FORGE_UNKNOWN', `No forge is configured for ${redact(repository)}`, {
        expected: 'one of `forges` in the configuration to match it',
        found: this.settings.length === 0 ? 'none' : this.settings.map(({ match }) => match).join(', '),
      });
    }
    const { kind, apiUrl } = endpointOf(settings);
    if (kind === 'github') return new GitHubForge(apiUrl, await this.gitHubTokens(settings, apiUrl));
    const token = await this.tokenOf(settings);
    return kind === 'gitlab' ? new GitLabForge(apiUrl, token) : new GiteaForge(apiUrl, token);
  }

  private settingsOf(repository: string): ForgeSettings | undefined {
    const address = addressOf(repository);
    return address && forgeOf(this.settings, address);
  }

  private async gitHubTokens(settings: ForgeSettings, apiUrl: string): Promise<GitHubTokens> {
    const { app } = settings;
    if (!app) {
      const token = await this.tokenOf(settings);
      return async () => token;
    }
    const privateKey = await read(app.privateKeyFile);
    const key = JSON.stringify([apiUrl, app.appId, app.installationId, privateKey]);
    const tokens = this.apps.get(key) ?? appTokens(apiUrl, { ...app, privateKey });
    this.apps.set(key, tokens);
    return tokens;
  }

  private async tokenOf({ tokenFile, tokenEnv, match }: ForgeSettings): Promise<string> {
    const token = (tokenFile ? await read(tokenFile) : (this.env[tokenEnv ?? ''] ?? '')).trim();
    if (token) return token;
    throw new ThroughlineError('TL_CONFIG_INVALID', `There is no token for the forge ${match}`, {
      expected: tokenFile ? `a token in ${tokenFile}` : `the environment variable ${tokenEnv}`,
    });
  }
}

async function read(file: string): Promise<string> {
  return readFile(file, 'utf8').catch((cause) => {
    throw new ThroughlineError('TL_CONFIG_INVALID', `The secret ${file} cannot be read`, {
      found: messageOf(cause),
      cause,
    });
  });
}
