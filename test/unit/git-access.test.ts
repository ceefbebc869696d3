// Credentials of git: which repositories they are for, how they are configured, and where they may not be.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { ThroughlineError } from '../../src/domain/errors.js';
import { isMatch, matchesPlace, matchOf, placeOf } from '../../src/domain/git-places.js';
import { ConfiguredGitAccess } from '../../src/git/access.js';
import { joined, withConfiguration } from '../../src/git/environment.js';
import { keepSecret, withoutSecrets } from '../../src/git/secrets.js';
import { sshCommand } from '../../src/git/ssh.js';
import { parseConfiguration, readConfiguration } from '../../src/policy/configuration.js';
import { temporaryDirectory } from '../support/world.js';

const directory = temporaryDirectory('access');
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const reaches = (match: string, kind: 'ssh' | 'https', repository: string) => {
  const place = placeOf(repository);
  return place !== undefined && matchesPlace(matchOf(match, kind), place);
};

describe('credentials', () => {
  it.each([
    ['https://git.example/ml/', 'https', 'https://git.example/ml/gitops.git'],
    ['https://git.example/ml', 'https', 'https://GIT.example:443/ml/gitops'],
    ['https://git.example/ml/gitops', 'https', 'https://git.example/ml/gitops.git/'],
    ['git.example', 'https', 'https://git.example/anything'],
    ['git.example:8443', 'https', 'https://git.example:8443/anything'],
    ['git.example', 'ssh', 'git@git.example:ml/gitops.git'],
    ['ssh://git@git.example/ml/', 'ssh', 'git@git.example:ml/gitops.git'],
    ['ssh://git@git.example/', 'ssh', 'ssh://git@git.example:22/ml/gitops.git'],
    ['ssh://git.example/', 'ssh', 'ssh://anybody@git.example/x'],
    ['http://127.0.0.1:8080', 'https', 'http://127.0.0.1:8080/x.git'],
  ] as const)('of %s (%s) are for %s', (match, kind, repository) => {
    expect(reaches(match, kind, repository)).toBe(true);
  });

  it.each([
    ['https://git.example/ml', 'https', 'https://git.example/ml-others/gitops.git'],
    ['https://git.example/ml', 'https', 'https://git.example/ml/../others/gitops.git'],
    ['https://git.example/ml', 'https', 'https://git.example/ml/%2e%2e/others.git'],
    ['https://git.example/ml', 'https', 'https://git.example/ml%2f..%2fothers.git'],
    ['https://git.example', 'https', 'https://git.example.org/ml/gitops.git'],
    ['https://git.example', 'https', 'https://evil/git.example/'],
    ['https://git.example', 'https', 'https://git.example@evil.example/x'],
    ['https://git.example', 'https', 'https://git.example:8443/x'],
    ['git.example', 'https', 'http://git.example/x'], // a token never goes there in the clear, unless that is asked for
    ['git.example', 'https', 'ssh://git.example/x'],
    ['git.example', 'ssh', 'https://git.example/x'],
    ['ssh://git@git.example/', 'ssh', 'ssh://root@git.example/x'],
    ['git.example', 'ssh', '/git.example/x'],
    ['git.example', 'ssh', 'file:///git.example/x'],
  ] as const)('of %s (%s) are not for %s', (match, kind, repository) => {
    expect(reaches(match, kind, repository)).toBe(false);
  });

  it('are matched by hosts and URLs alone', () => {
    for (const bad of [
      '',
      '*',
      'git.example/ml',
      'https://token@git.example',
      'https://u:p@git.example',
      'ext::sh',
      'https://git.example/?a',
    ])
      expect(isMatch(bad), bad).toBe(false);
  });

  it('that match more of a URL come first', async () => {
    process.env.TEST_GIT_ALL = 'token-of-all';
    process.env.TEST_GIT_ONE = 'token-of-one';
    const access = new ConfiguredGitAccess([
      { match: 'git.example', token: { env: 'TEST_GIT_ALL' } },
      { match: 'https://git.example/ml/gitops', token: { env: 'TEST_GIT_ONE' }, user: 'oauth2' },
    ]);
    const one = await access.environment('https://git.example/ml/gitops.git');
    expect([one.THROUGHLINE_GIT_USER, one.THROUGHLINE_GIT_TOKEN]).toEqual(['oauth2', 'token-of-one']);
    const other = await access.environment('https://git.example/ml/model.git');
    expect([other.THROUGHLINE_GIT_USER, other.THROUGHLINE_GIT_TOKEN]).toEqual([
      'x-access-token',
      'token-of-all',
    ]);
    expect(await access.environment('https://elsewhere.example/ml/model.git')).toEqual({});
  });

  it('that cannot be read are said at the start, without what stands in them', async () => {
    const problem = async (file: string, text?: string) => {
      const path = join(directory, file);
      if (text !== undefined) writeFileSync(path, text);
      const access = new ConfiguredGitAccess([{ match: 'git.example', token: { file: path } }]);
      return access.check().then(
        () => undefined,
        (error) => (error instanceof ThroughlineError ? error.problem : error),
      );
    };
    expect(await problem('good', 'glpat-abc\n')).toBeUndefined();
    expect(await problem('missing')).toMatchObject({ code: 'TL_CONFIG_INVALID' });
    expect(await problem('empty', '\n')).toMatchObject({ code: 'TL_CONFIG_INVALID' });
    const two = await problem('two', 'hidden-one\nhidden-two\n');
    expect(two).toMatchObject({ code: 'TL_CONFIG_INVALID' });
    expect(JSON.stringify(two)).not.toContain('hidden');
  });
});

describe('the section git of a configuration', () => {
  const HEAD = 'apiVersion: throughline.dev/v1alpha1\nkind: ServerConfiguration\n';
  const read = (git: string) => parseConfiguration(`${HEAD}git:\n${git}`, 'server.yaml').git;
  const refused = (git: string) => {
    try {
      read(git);
    } catch (error) {
      if (error instanceof ThroughlineError) return JSON.stringify([error.problem, error.problem.also]);
    }
    throw new Error('it is taken');
  };

  it('of the documentation, and that of deploy/kubernetes that is commented out, is taken', () => {
    const file = (path: string) =>
      readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
    const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(file('docs/git.md')) ?? [];
    expect(parseConfiguration(example, 'x').git).toMatchObject({
      access: [{}, {}, {}],
      signing: { format: 'ssh' },
    });
    const [, commented = ''] =
      /^# git:.*\n((?:# .*\n)+)/m.exec(file('deploy/kubernetes/throughline/server.yaml')) ?? [];
    expect(read(commented.replace(/^# /gm, '')).access).toMatchObject([{ match: 'ssh://git@git.example/' }]);
  });

  it('names files beside the configuration', async () => {
    const file = join(directory, 'server.yaml');
    const entries = [
      '{ match: git.example, sshKey: keys/deploy, knownHosts: known_hosts }',
      '{ match: a.example, token: { file: token } }',
      '{ match: github.com, githubApp: { appId: 7, privateKey: app.pem } }',
    ];
    writeFileSync(
      file,
      `${HEAD}git:\n  access: [${entries.join(', ')}]\n  signing: { format: ssh, key: signing }\n`,
    );
    const { git } = await readConfiguration(file);
    expect(git.access).toMatchObject([
      { sshKey: join(directory, 'keys/deploy'), knownHosts: join(directory, 'known_hosts') },
      { token: { file: join(directory, 'token') } },
      { githubApp: { appId: '7', privateKey: join(directory, 'app.pem'), apiUrl: 'https://api.github.com' } },
    ]);
    expect(git.signing?.key).toBe(join(directory, 'signing'));
  });

  it('leaves the id of a key of gpg’s as it is', () => {
    expect(read('  signing: { format: openpgp, key: "0xABCD" }').signing?.key).toBe('0xABCD');
  });

  it.each([
    ['a key without known hosts', '{ match: git.example, sshKey: k }', /knownHosts/],
    ['known hosts without a key', '{ match: git.example, token: { env: T }, knownHosts: k }', /sshKey/],
    ['nothing', '{ match: git.example }', /one of sshKey, token and githubApp/],
    ['two at once', '{ match: git.example, sshKey: k, knownHosts: h, token: { env: T } }', /one of/],
    ['a key for https', '{ match: "https://git.example", sshKey: k, knownHosts: h }', /ssh URL/],
    ['a token for ssh', '{ match: "ssh://git.example", token: { env: T } }', /https URL/],
    [
      'a path that ends a quotation',
      `{ match: git.example, sshKey: 'a" -o ProxyCommand=x', knownHosts: h }`,
      /path/,
    ],
    ['a user without a token', '{ match: git.example, user: u, sshKey: k, knownHosts: h }', /token beside/],
    ['a token of two', '{ match: git.example, token: { env: T, file: f } }', /file: … /],
    ['an unknown key', '{ match: git.example, token: { env: T }, sshkey: k }', /Unknown key/],
  ])('refuses %s', (_, entry, message) => {
    expect(refused(`  access: [${entry}]`)).toMatch(message);
  });

  it('I9: does not repeat a token that stands where its name belongs', () => {
    expect(refused('  access: [{ match: git.example, token: ghp_SECRET }]')).not.toContain('SECRET');
    expect(refused('  access: [{ match: "https://SECRET@git.example", token: { env: T } }]')).not.toContain(
      'SECRET',
    );
  });
});

describe('ssh', () => {
  it('believes the pinned keys alone, and is given paths of any kind', async () => {
    const command = await sshCommand({ sshKey: "/keys/it's 100%", knownHosts: '/etc/known hosts' });
    expect(command).toContain(`'IdentityFile="/keys/it'\\''s 100%%"'`);
    expect(command).toContain(`'UserKnownHostsFile="/etc/known hosts"'`);
    expect(command).toContain('StrictHostKeyChecking=yes');
    expect(command).not.toMatch(/accept-new|StrictHostKeyChecking=no/);
    const lines = await sshCommand({ sshKey: '/k', knownHosts: ['git.example ssh-ed25519 AAAA', '# x'] });
    const [, file = ''] = /UserKnownHostsFile="([^"]+)"/.exec(lines) ?? [];
    expect(readFileSync(file, 'utf8')).toBe('git.example ssh-ed25519 AAAA\n# x\n');
  });
});

describe('configuration by environment', () => {
  it('is added to what is there', () => {
    const first = withConfiguration({ A: '1' }, [['a.b', 'c']]);
    const second = withConfiguration({ B: '2' }, [['d.e', 'f']]);
    expect(joined(first, second)).toEqual({
      A: '1',
      B: '2',
      GIT_CONFIG_COUNT: '2',
      GIT_CONFIG_KEY_0: 'a.b',
      GIT_CONFIG_VALUE_0: 'c',
      GIT_CONFIG_KEY_1: 'd.e',
      GIT_CONFIG_VALUE_1: 'f',
    });
  });
});

describe('I9: a text', () => {
  it.each([
    'ghp_0123456789abcdefghijABCDEFGHIJ012345',
    'github_pat_11ABCDEFG0123456789_abcdefghij',
    'glpat-abcdefghij0123456789',
  ])('is without %s', (token) => {
    expect(withoutSecrets(`remote: you sent ${token} to us`)).toBe('remote: you sent *** to us');
  });

  it('is without headers, users of URLs and tokens that git was given', () => {
    keepSecret('pa/ss+word');
    expect(withoutSecrets('Authorization: Basic dXNlcjpwYXNz')).toBe('Authorization: Basic ***');
    expect(withoutSecrets('https://u:p@git.example/x')).toBe('https://***@git.example/x');
    expect(withoutSecrets('a pa/ss+word, a pa%2Fss%2Bword')).toBe('a ***, a ***');
  });
});
