// Which forge a repository is on, and whose token goes where.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Forges } from '../../../src/activities/forge/choose.js';
import { GiteaForge } from '../../../src/activities/forge/gitea.js';
import { GitHubForge } from '../../../src/activities/forge/github.js';
import { GitLabForge } from '../../../src/activities/forge/gitlab.js';
import { addressOf, ownerAndName } from '../../../src/activities/forge/repository.js';
import { formatProblem, ThroughlineError } from '../../../src/domain/errors.js';
import { parseConfiguration, readConfiguration } from '../../../src/policy/configuration.js';
import { endpointOf, type ForgeSettings, forgeOf } from '../../../src/policy/forges.js';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'throughline-test-forges-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const configuration = (forges: unknown) =>
  parseConfiguration(
    JSON.stringify({ apiVersion: 'throughline.dev/v1alpha1', kind: 'ServerConfiguration', forges }),
    'server.yaml',
  ).forges;

const FORGES = () =>
  configuration([
    { match: 'github.com', tokenEnv: 'A' },
    { match: 'gitlab.com', tokenEnv: 'A' },
    { match: 'codeberg.org', tokenEnv: 'A' },
    { match: 'https://git.example/ml', kind: 'gitlab', tokenEnv: 'A' },
    { match: 'https://git.example/ml/private', kind: 'gitlab', tokenEnv: 'B' },
    { match: 'http://127.0.0.1:3000', kind: 'gitea', tokenEnv: 'A' },
    { match: 'ghe.example', kind: 'github', apiUrl: 'https://api.ghe.example', tokenEnv: 'A' },
  ]);

const matchOf = (repository: string): string | undefined => {
  const address = addressOf(repository);
  return address && forgeOf(FORGES(), address)?.match;
};

describe('the forge of a repository', () => {
  it('is the one whose match is the longest', () => {
    expect(matchOf('https://github.com/ml/gitops.git')).toBe('github.com');
    expect(matchOf('git@github.com:ml/gitops.git')).toBe('github.com');
    expect(matchOf('ssh://git@github.com:22/ml/gitops')).toBe('github.com');
    expect(matchOf('https://GitHub.com/ml/gitops')).toBe('github.com');
    expect(matchOf('https://git.example/ml/gitops')).toBe('https://git.example/ml');
    expect(matchOf('https://git.example/ml/private/gitops')).toBe('https://git.example/ml/private');
    expect(matchOf('http://127.0.0.1:3000/ml/gitops')).toBe('http://127.0.0.1:3000');
  });

  it('is none that only looks like it', () => {
    for (const repository of [
      'https://github.com.evil.example/ml/gitops',
      'https://evilgithub.com/ml/gitops',
      'https://git.example/mlops/gitops',
      'https://git.example/other/gitops',
      'http://127.0.0.1:3001/ml/gitops',
      'https://github.com:8443/ml/gitops',
      'file:///srv/github.com/ml/gitops',
      '/srv/gitops',
    ]) {
      expect([repository, matchOf(repository)]).toEqual([repository, undefined]);
    }
  });

  it('has its API where the configuration says, whatever the repository’s URL is', () => {
    const endpoints = FORGES().map((one) => endpointOf(one));
    expect(endpoints).toEqual([
      { kind: 'github', apiUrl: 'https://api.github.com' },
      { kind: 'gitlab', apiUrl: 'https://gitlab.com/api/v4' },
      { kind: 'gitea', apiUrl: 'https://codeberg.org/api/v1' },
      { kind: 'gitlab', apiUrl: 'https://git.example/api/v4' },
      { kind: 'gitlab', apiUrl: 'https://git.example/api/v4' },
      { kind: 'gitea', apiUrl: 'http://127.0.0.1:3000/api/v1' },
      { kind: 'github', apiUrl: 'https://api.ghe.example' },
    ]);
  });

  it('has an owner and a name', () => {
    expect(ownerAndName('git@host.example:ml/gitops.git')).toEqual({ owner: 'ml', repo: 'gitops' });
    expect(ownerAndName('https://host.example/below/ml/gitops.git/')).toEqual({
      owner: 'ml',
      repo: 'gitops',
    });
    for (const repository of [
      'https://host.example/gitops',
      'git@host.example:../admin',
      'git@host.example:ml/..',
      'https://host.example/%2e%2e/%2e%2e/admin',
      'https://host.example/ml/..%2fadmin',
      'https://host.example/ml/%zz',
    ]) {
      expect(() => ownerAndName(repository)).toThrow(ThroughlineError);
    }
  });
});

describe('the configuration', () => {
  const refusal = (forge: unknown) => {
    try {
      configuration([forge]);
    } catch (error) {
      return formatProblem((error as ThroughlineError).problem);
    }
    return 'taken';
  };

  it('refuses what it could not use, and says what it expected', () => {
    expect(refusal({ match: 'git.example', tokenEnv: 'A' })).toContain('expected: github, gitlab, gitea');
    expect(refusal({ match: 'github.com' })).toContain('one of tokenFile, tokenEnv and app');
    expect(refusal({ match: 'github.com', tokenEnv: 'A', tokenFile: 'b' })).toContain('one of tokenFile');
    expect(refusal({ match: 'not a host', kind: 'gitea', tokenEnv: 'A' })).toContain('a host');
    expect(refusal({ match: 'gitlab.com', app: { appId: 1, privateKeyFile: 'k' } })).toContain('only GitHub');
    expect(refusal({ match: 'github.com', tokenEnv: 'A-B' })).toContain('environment variable');
    expect(refusal({ match: 'github.com', token: 'ghp_secret' })).not.toContain('ghp_secret');
    expect(refusal({ match: 'github.com', tokenEnv: 'A' })).toBe('taken');
  });

  it('names files from beside itself', async () => {
    const file = join(directory, 'server.yaml');
    writeFileSync(
      file,
      `apiVersion: throughline.dev/v1alpha1
kind: ServerConfiguration
forges:
  - { match: git.example, kind: gitea, tokenFile: token }
  - { match: github.com, app: { appId: 7, privateKeyFile: keys/app.pem } }
`,
    );
    const { forges } = await readConfiguration(file);
    expect(forges.map(({ tokenFile, app }) => tokenFile ?? app?.privateKeyFile)).toEqual([
      join(directory, 'token'),
      join(directory, 'keys/app.pem'),
    ]);
  });
});

describe('the credentials', () => {
  const forges = (settings: readonly ForgeSettings[], env = {}) => new Forges(settings, env);
  const problemOf = async (tried: Promise<unknown>) =>
    (await tried.catch((error: unknown) => error)) as ThroughlineError;

  it('are read when they are used', async () => {
    const file = join(directory, 'token');
    const [settings] = configuration([{ match: 'git.example', kind: 'gitea', tokenFile: file }]);
    const all = forges(settings ? [settings] : []);
    const repository = 'https://git.example/ml/gitops';
    expect((await problemOf(all.of(repository))).code).toBe('TL_CONFIG_INVALID');
    writeFileSync(file, 'secret\n');
    expect(await all.of(repository)).toBeInstanceOf(GiteaForge);
  });

  it('make the forge of its kind', async () => {
    const all = forges(FORGES(), { A: 'secret' });
    expect(await all.of('https://github.com/ml/gitops')).toBeInstanceOf(GitHubForge);
    expect(await all.of('https://gitlab.com/ml/gitops')).toBeInstanceOf(GitLabForge);
    expect(await all.of('https://codeberg.org/ml/gitops')).toBeInstanceOf(GiteaForge);
    expect([all.has('https://codeberg.org/ml/x'), all.has('https://elsewhere.example/ml/x')]).toEqual([
      true,
      false,
    ]);
  });

  it('are missed by name', async () => {
    const all = forges(FORGES(), {});
    expect((await problemOf(all.of('https://github.com/ml/gitops'))).problem).toMatchObject({
      code: 'TL_CONFIG_INVALID',
      expected: 'the environment variable A',
    });
    expect((await problemOf(all.of('https://elsewhere.example/ml/gitops'))).code).toBe('TL_FORGE_UNKNOWN');
  });
});
