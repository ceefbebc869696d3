// How git reaches remotes: which variables a command gets for a URL. Secrets go to git by its environment alone, of one
// command at a time: never by arguments, which others of the machine see, and never by a configuration on disk (I9).
import { readFile } from 'node:fs/promises';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import { matchesPlace, matchOf, type Place, placeOf } from '../domain/git-places.js';
import type { AccessSettings, SecretSettings } from '../policy/git.js';
import { withConfiguration } from './environment.js';
import { GitHubApp } from './github-app.js';
import { keepSecret } from './secrets.js';
import { sshCommand } from './ssh.js';

/** The port: credentials for git. */
export interface GitAccess {
  /** Variables for a command that reaches the URL; none where git's own helpers and the agent of ssh are asked. */
  environment(url: string, signal?: AbortSignal): Promise<Record<string, string>>;
}

const GITS_OWN: GitAccess = { environment: async () => ({}) };

let current = GITS_OWN;

/** From now on this process's git reaches remotes so: there is one git, and one configuration, for all of a worker. */
export function useGitAccess(access: GitAccess | undefined): void {
  current = access ?? GITS_OWN;
}

/** Throws TL_CONFIG_INVALID where a configured secret cannot be read, and what a GitHub App's server says. */
export function accessEnvironment(url: string, signal?: AbortSignal): Promise<Record<string, string>> {
  return current.environment(url, signal);
}

/** Answers git's questions from its own environment; `printf` is the shell's own, so that no process has the token as an argument. */
const HELPER =
  '!f() { test "$1" = get && printf \'username=%s\\npassword=%s\\n\' "$THROUGHLINE_GIT_USER" "$THROUGHLINE_GIT_TOKEN"; }; f';

const DEFAULT_USER = 'x-access-token';

interface Entry {
  readonly match: Place;
  readonly settings: AccessSettings;
  readonly app: GitHubApp | undefined;
}

/** What the server's configuration says. */
export class ConfiguredGitAccess implements GitAccess {
  private readonly entries: readonly Entry[];

  constructor(settings: readonly AccessSettings[]) {
    this.entries = settings
      .map((one) => ({
        match: matchOf(one.match, one.sshKey === undefined ? 'https' : 'ssh'),
        settings: one,
        app: one.githubApp && new GitHubApp(one.githubApp),
      }))
      .sort((a, b) => b.match.path.length - a.match.path.length);
  }

  /** Reads every key and token once: a mistake is said at the start, not hours into a release. Throws TL_CONFIG_INVALID. */
  async check(): Promise<void> {
    for (const { settings } of this.entries) {
      const { sshKey, knownHosts, token, githubApp } = settings;
      const files = [sshKey, typeof knownHosts === 'string' ? knownHosts : undefined, githubApp?.privateKey];
      for (const file of files) if (file !== undefined) await readSecretFile(file);
      if (token) await readSecret(token);
    }
  }

  async environment(url: string, signal?: AbortSignal): Promise<Record<string, string>> {
    const place = placeOf(url);
    const entry = place && this.entries.find(({ match }) => matchesPlace(match, place));
    if (!entry) return {};
    const { sshKey, knownHosts, token, user = DEFAULT_USER } = entry.settings;
    if (sshKey !== undefined && knownHosts !== undefined)
      return { GIT_SSH_COMMAND: await sshCommand({ sshKey, knownHosts }) };
    if (entry.app) return tokenEnvironment(place, DEFAULT_USER, await entry.app.token(place.path, signal));
    return token ? tokenEnvironment(place, user, await readSecret(token)) : {};
  }
}

/**
 * The token is an answer to git's own question, not a header of every request: git asks anew for another host, so that a
 * server that redirects elsewhere does not take the token there. No other helper is asked, nor told to keep it.
 */
function tokenEnvironment({ protocol, host }: Place, user: string, token: string): Record<string, string> {
  keepSecret(token);
  return withConfiguration({ THROUGHLINE_GIT_USER: user, THROUGHLINE_GIT_TOKEN: token }, [
    [`credential.${protocol}//${host}.helper`, ''],
    [`credential.${protocol}//${host}.helper`, HELPER],
  ]);
}

/** Read at each use: mounted secrets change while a worker runs. */
async function readSecret(secret: SecretSettings): Promise<string> {
  if ('file' in secret) return oneLine(await readSecretFile(secret.file), secret.file);
  const value = process.env[secret.env];
  if (value) return oneLine(value, secret.env);
  throw new ThroughlineError('TL_CONFIG_INVALID', `The environment variable ${secret.env} has no token`, {
    expected: 'the token that `git.access` of the configuration names',
  });
}

async function readSecretFile(file: string): Promise<string> {
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new ThroughlineError('TL_CONFIG_INVALID', `The secret ${file} cannot be read`, {
      expected: 'a file that `git.access` of the configuration names',
      found: messageOf(cause),
    });
  });
  if (text.trim() !== '') return text;
  throw new ThroughlineError('TL_CONFIG_INVALID', `There is no secret in ${file}`);
}

/** git's protocol of helpers is one of lines. What is wrong is not shown (I9). */
function oneLine(text: string, where: string): string {
  const value = text.trim();
  if (/^[\x21-\x7e]+$/.test(value)) return value;
  throw new ThroughlineError('TL_CONFIG_INVALID', `What is in ${where} is no token`, {
    expected: 'one line without spaces',
  });
}
