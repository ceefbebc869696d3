// Real remotes: a real sshd, git's own http-backend behind a server that asks for a password, and a GitHub App whose tokens
// are made by a server that verifies its signature. What is held to: the right credentials get in and others do not, a host
// with another key is not believed, and no secret is anywhere but in the environment of one command (I9).
import { execFileSync } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { deployChange } from '../../src/activities/gitops/deployment.js';
import { GitGitOpsRepository } from '../../src/activities/gitops/writer.js';
import { ThroughlineError } from '../../src/domain/errors.js';
import {
  authorizationFor,
  ConfiguredGitAccess,
  Mirror,
  pushFailure,
  useGitAccess,
} from '../../src/git/index.js';
import type { AccessSettings } from '../../src/policy/index.js';
import { type FakeGitHub, type GitHttp, startGitHttp, startGitHub } from '../support/git-http.js';
import { deploymentOf } from '../support/gitops.js';
import { newKey, SSHD, type Sshd, startSshd } from '../support/sshd.js';
import { git, MANIFEST, remote, temporaryDirectory } from '../support/world.js';

const FILES = { 'k8s/deployment.yaml': MANIFEST, 'large.bin': 'x'.repeat(100_000) };

let directory: string;
beforeEach(() => {
  directory = temporaryDirectory('remotes');
});
afterEach(() => {
  useGitAccess(undefined);
  rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
});

const use = (...access: AccessSettings[]) => useGitAccess(new ConfiguredGitAccess(access));
const open = (url: string) => Mirror.open(join(directory, 'cache'), url, 'gitops');

/** Reads a file, and pushes a commit of the same tree. Gives what came back of the file. */
async function readAndPush(url: string, subject = 'Deploy'): Promise<string> {
  const mirror = await open(url);
  const tip = await mirror.fetchBranch('main');
  const text = await mirror.files(tip).read('k8s/deployment.yaml', 1000);
  const commit = git(mirror.directory, 'commit-tree', `${tip}^{tree}`, '-p', tip, '-m', subject).trim();
  await push(mirror, commit);
  return text;
}

async function push(mirror: Mirror, commit: string): Promise<void> {
  const words = ['push', '--porcelain', '--', mirror.repository, `${commit}:refs/heads/main`];
  await (await mirror.git()).raw(words).catch((error) => {
    throw pushFailure(mirror.repository, 'main', error);
  });
}

async function problemOf(promise: Promise<unknown>): Promise<ThroughlineError['problem']> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ThroughlineError) return error.problem;
    throw error;
  }
  throw new Error('it got through');
}

/** Everything that a copy has on disk, but for packs. */
function written(root: string): string {
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => join(root, name))
    .filter((path) => /(?:config|HEAD|refs|\.lock|description|FETCH)/.test(path))
    .map((path) => (existsSync(path) && !isDirectory(path) ? readFileSync(path, 'utf8') : ''))
    .join('\n');
}
const isDirectory = (path: string) => {
  try {
    readdirSync(path);
    return true;
  } catch {
    return false;
  }
};

describe.skipIf(!SSHD)(
  `over SSH${SSHD ? '' : ' (skipped: THROUGHLINE_TEST_SSHD is not set, npm test sets it)'}`,
  () => {
    let home: string;
    let keys: string;
    let sshd: Sshd;
    let url: string;
    let writing: string;
    let reading: string;

    beforeAll(async () => {
      home = temporaryDirectory('sshd');
      keys = temporaryDirectory('keys');
      remote(join(home, 'ml.git'), FILES);
      git(join(home, 'ml.git'), 'config', 'uploadpack.allowFilter', 'true');
      const write = newKey(join(keys, "deploy key's"));
      const read = newKey(join(keys, 'read'));
      [writing, reading] = [write.file, read.file];
      // As GitHub answers for a deploy key that may only read.
      const only = join(home, 'read-only.sh');
      writeFileSync(
        only,
        '#!/bin/sh\ncase "$SSH_ORIGINAL_COMMAND" in\n  git-upload-pack*) exec sh -c "$SSH_ORIGINAL_COMMAND" ;;\n  *) echo "ERROR: The key you are authenticating with has been marked as read only." >&2; exit 1 ;;\nesac\n',
      );
      chmodSync(only, 0o755);
      sshd = await startSshd(
        home,
        [write.publicKey, `command="${only}" ${read.publicKey}`],
        join(home, 'ml.git'),
      );
      url = `${sshd.url}${join(home, 'ml.git')}`;
    });
    afterAll(async () => {
      await sshd?.stop();
      for (const one of [home, keys]) rmSync(one, { recursive: true, force: true, maxRetries: 10 });
    });

    it('a deploy key reads and pushes, with the host’s keys in lines and in a file', async () => {
      use({ match: sshd.url, sshKey: writing, knownHosts: [sshd.knownHost] });
      expect(await readAndPush(url)).toBe(MANIFEST);
      const file = join(directory, 'known hosts');
      writeFileSync(file, `# ours\n${sshd.knownHost}\n`);
      use({ match: sshd.url, sshKey: writing, knownHosts: file });
      expect(await readAndPush(url, 'Deploy again')).toBe(MANIFEST);
      const log = execFileSync('git', ['-c', 'safe.directory=*', 'log', '--format=%s', 'main'], {
        cwd: join(home, 'ml.git'),
        encoding: 'utf8',
      });
      expect(log.split('\n').slice(0, 2)).toEqual(['Deploy again', 'Deploy']);
    });

    it('a server that gives nothing on demand is copied whole', async () => {
      // As an sshd is that nobody has told of GIT_PROTOCOL: it speaks version 0.
      const [other, plain] = [temporaryDirectory('sshd'), newKey(join(directory, 'plain'))];
      const repository = join(other, 'ml.git');
      remote(repository, FILES);
      git(repository, 'config', 'uploadpack.allowFilter', 'true');
      const old = await startSshd(other, [plain.publicKey], repository, { accept: 'LANG' });
      try {
        use({ match: old.url, sshKey: plain.file, knownHosts: [old.knownHost] });
        expect(await readAndPush(`${old.url}${repository}`)).toBe(MANIFEST);
        expect(await readAndPush(`${old.url}${repository}`, 'Again')).toBe(MANIFEST);
      } finally {
        await old.stop();
        rmSync(other, { recursive: true, force: true, maxRetries: 10 });
      }
    });

    it('a host with another key is not believed, and says so', async () => {
      const other = newKey(join(directory, 'other'));
      const knownHost = `${sshd.knownHost.split(' ')[0]} ${other.publicKey}`;
      use({ match: sshd.url, sshKey: writing, knownHosts: [knownHost] });
      const problem = await problemOf(readAndPush(url));
      expect(problem).toMatchObject({
        code: 'TL_REPOSITORY_DENIED',
        message: expect.stringContaining('host key differs'),
      });
      // Nor one that is not known at all: nobody is believed at first sight.
      use({ match: sshd.url, sshKey: writing, knownHosts: [`other.example ${other.publicKey}`] });
      expect((await problemOf(readAndPush(url))).message).toContain('host key differs');
    });

    it('a key that may only read is told so when it pushes', async () => {
      use({ match: sshd.url, sshKey: reading, knownHosts: [sshd.knownHost] });
      const mirror = await open(url);
      const tip = await mirror.fetchBranch('main');
      const commit = git(mirror.directory, 'commit-tree', `${tip}^{tree}`, '-p', tip, '-m', 'No').trim();
      expect(await problemOf(push(mirror, commit))).toMatchObject({
        code: 'TL_REPOSITORY_DENIED',
        found: expect.stringContaining('marked as read only'),
      });
    });

    it('a key that nobody knows is denied, also where the machine has others', async () => {
      const stranger = newKey(join(directory, 'stranger'));
      use({ match: sshd.url, sshKey: stranger.file, knownHosts: [sshd.knownHost] });
      // An agent and a configuration with the right key: neither is asked.
      const agent = execFileSync('ssh-agent', ['-s'], { encoding: 'utf8' });
      const [, socket = ''] = /SSH_AUTH_SOCK=([^;]+)/.exec(agent) ?? [];
      const [, pid = ''] = /SSH_AGENT_PID=(\d+)/.exec(agent) ?? [];
      process.env.SSH_AUTH_SOCK = socket;
      try {
        execFileSync('ssh-add', ['-q', writing], { stdio: 'pipe' });
        expect(await problemOf(readAndPush(url))).toMatchObject({
          code: 'TL_REPOSITORY_DENIED',
          found: expect.stringContaining('Permission denied (publickey)'),
        });
      } finally {
        delete process.env.SSH_AUTH_SOCK;
        process.kill(Number(pid));
      }
    });

    it('I9: the key is in no message, and in no copy', async () => {
      const secret = readFileSync(writing, 'utf8').split('\n')[2] ?? '';
      use({ match: sshd.url, sshKey: writing, knownHosts: [sshd.knownHost] });
      const problem = await problemOf((await open(`${sshd.url}/none.git`)).fetchBranch('main'));
      expect(problem.code).toBe('TL_REPOSITORY_NOT_FOUND');
      expect(JSON.stringify(problem)).not.toContain(secret);
      await readAndPush(url, 'Once more');
      expect(written(join(directory, 'cache'))).not.toContain(secret);
    });
  },
);

describe('over HTTP', () => {
  const TOKEN = 'glpat-0123456789-Secret';
  let server: GitHttp;
  let root: string;
  let url: string;

  beforeEach(async () => {
    root = join(directory, 'served');
    mkdirSync(root);
    remote(join(root, 'ml.git'), FILES);
    git(join(root, 'ml.git'), 'config', 'uploadpack.allowFilter', 'true');
    server = await startGitHttp(root, (user, password) => user === 'oauth2' && password === TOKEN);
    url = `${server.url}/ml.git`;
    writeFileSync(join(directory, 'token'), `${TOKEN}\n`);
  });
  afterEach(() => server.stop());

  const token = (more: Partial<AccessSettings> = {}): AccessSettings => ({
    match: server.url,
    user: 'oauth2',
    token: { file: join(directory, 'token') },
    ...more,
  });

  it('a token reads and pushes, and a build is given the same', async () => {
    use(token());
    expect(await readAndPush(url)).toBe(MANIFEST);
    // It was asked once whether it gives files on demand.
    expect(existsSync(join((await open(url)).directory, 'throughline-on-demand'))).toBe(true);
    expect(git(join(root, 'ml.git'), 'log', '-1', '--format=%s', 'main').trim()).toBe('Deploy');
    const authorization = await authorizationFor(url, new AbortController().signal);
    expect(authorization).toBe(`Basic ${Buffer.from(`oauth2:${TOKEN}`).toString('base64')}`);
    expect(await authorizationFor('http://127.0.0.1:1/ml.git', new AbortController().signal)).toBeUndefined();
  });

  it('the GitOps writer gets in, and signs each of several commits of one push', async () => {
    use(token());
    const key = newKey(join(directory, 'signing'));
    const signing = { format: 'ssh' as const, key: key.file };
    const identity = { name: 'T', email: 't@localhost', signing };
    const change = (release: string) =>
      deployChange(deploymentOf(url, release, release, { manifest: 'k8s/deployment.yaml' }));
    const changes = [change('rel-a'), change('rel-b')];
    const options = { signal: new AbortController().signal, report: () => {} };
    const writer = (cache: string) => new GitGitOpsRepository(join(directory, cache), identity);
    const [first] = changes;
    if (!first) throw new Error('there is none');
    const written = await writer('writer').write(first, changes, options);
    writeFileSync(join(directory, 'allowed'), `t@localhost ${key.publicKey}\n`);
    const served = join(root, 'ml.git');
    git(served, 'config', 'gpg.ssh.allowedSignersFile', join(directory, 'allowed'));
    const commits = git(served, 'log', '-2', '--reverse', '--format=%H', 'main').trim().split('\n');
    for (const commit of commits) git(served, 'verify-commit', commit);
    expect(written).toMatchObject(commits.map((commit) => ({ commit })));
    // I3: found again by a worker that knows nothing of it.
    expect(await writer('another').write(first, changes, options)).toMatchObject(
      written.map((one) => 'commit' in one && { commit: one.commit }),
    );
    expect(git(served, 'rev-list', '--count', 'main').trim()).toBe('3');
  });

  it('a token that has changed is read anew, as mounted secrets are', async () => {
    writeFileSync(join(directory, 'token'), 'glpat-of-yesterday\n');
    use(token());
    const problem = await problemOf(readAndPush(url));
    expect(problem.code).toBe('TL_REPOSITORY_DENIED');
    writeFileSync(join(directory, 'token'), `${TOKEN}\n`);
    expect(await readAndPush(url)).toBe(MANIFEST);
  });

  it('I9: a wrong token is denied, and not repeated', async () => {
    writeFileSync(join(directory, 'token'), 'a-wrong-token-of-ours');
    use(token());
    const problem = await problemOf(readAndPush(url));
    expect(problem.code).toBe('TL_REPOSITORY_DENIED');
    expect(JSON.stringify(problem)).not.toContain('a-wrong-token');
    // And not where the server does: some write into their answer what they were sent.
    server.answer = {
      status: 403,
      headers: { 'content-type': 'text/plain' },
      body: 'a-wrong-token-of-ours is unknown\n',
    };
    expect((await problemOf(readAndPush(url))).found).toContain('*** is unknown');
  });

  it('without a token, or with one for another path, nobody is asked and access is denied', async () => {
    expect((await problemOf(readAndPush(url))).code).toBe('TL_REPOSITORY_DENIED');
    use(token({ match: `${server.url}/m` }));
    expect((await problemOf(readAndPush(url))).code).toBe('TL_REPOSITORY_DENIED');
    expect(server.asked.filter(Boolean)).toEqual([]);
  });

  it('a token stays with its server, wherever that sends git', async () => {
    const elsewhere = await startGitHttp(root, () => false);
    try {
      use(token());
      server.answer = {
        status: 302,
        headers: { location: `${elsewhere.url}/ml.git/info/refs?service=git-upload-pack` },
      };
      expect((await problemOf(readAndPush(url))).code).toBe('TL_REPOSITORY_DENIED');
      expect(elsewhere.asked.length).toBeGreaterThan(0);
      expect(elsewhere.asked.filter(Boolean)).toEqual([]);
    } finally {
      await elsewhere.stop();
    }
  });

  it('I9: the token is in no argument of a process while it pushes, and on no disk afterwards', async () => {
    use(token());
    const mirror = await open(url);
    const tip = await mirror.fetchBranch('main');
    await mirror.files(tip).read('k8s/deployment.yaml', 1000);
    const commit = git(mirror.directory, 'commit-tree', `${tip}^{tree}`, '-p', tip, '-m', 'Slow').trim();
    const [begun, go] = [join(directory, 'begun'), join(directory, 'go')];
    const hook = join(root, 'ml.git/hooks/pre-receive');
    writeFileSync(hook, `#!/bin/sh\ntouch ${begun}\nwhile ! [ -e ${go} ]; do sleep 0.1; done\n`);
    chmodSync(hook, 0o755);
    const pushed = push(mirror, commit);
    while (!existsSync(begun)) await sleep(20);
    const read = (pid: string, file: string) => {
      try {
        return readFileSync(`/proc/${pid}/${file}`, 'utf8');
      } catch {
        return ''; // it has ended
      }
    };
    const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    const commands = pids.map((pid) => read(pid, 'cmdline'));
    const environments = pids.map((pid) => read(pid, 'environ'));
    writeFileSync(go, '');
    await pushed;
    // It is seen where it is, so that this would see it elsewhere.
    expect(environments.some((one) => one.includes(TOKEN))).toBe(true);
    expect(commands.some((one) => one.includes('push'))).toBe(true);
    const encoded = Buffer.from(`oauth2:${TOKEN}`).toString('base64');
    for (const command of commands) {
      expect(command).not.toContain(TOKEN);
      expect(command).not.toContain(encoded);
    }
    expect(git(join(root, 'ml.git'), 'rev-parse', 'main').trim()).toBe(commit);
    for (const secret of [TOKEN, encoded]) expect(written(join(directory, 'cache'))).not.toContain(secret);
  });

  it('I9: a helper of the machine’s own is neither asked nor told to keep the token', async () => {
    const store = join(directory, 'stored');
    const config = join(directory, 'gitconfig');
    writeFileSync(
      config,
      `[credential]\n\thelper = store --file=${store}\n[credential "${server.url}"]\n\thelper = store --file=${store}\n`,
    );
    process.env.GIT_CONFIG_GLOBAL = config;
    try {
      use(token());
      await readAndPush(url);
      expect(existsSync(store)).toBe(false);
      // Where nothing is configured they are asked, as ever.
      useGitAccess(undefined);
      writeFileSync(store, `${server.url.replace('//', `//oauth2:${TOKEN}@`)}\n`);
      expect(await readAndPush(url, 'By a helper')).toBe(MANIFEST);
    } finally {
      delete process.env.GIT_CONFIG_GLOBAL;
    }
  });

  it('a server in trouble is waited for', async () => {
    use(token());
    for (const status of [429, 500, 502, 503]) {
      server.answer = { status };
      expect((await problemOf(readAndPush(url))).code, String(status)).toBe('TL_REPOSITORY_UNREACHABLE');
    }
    await server.stop();
    expect((await problemOf(readAndPush(url))).code).toBe('TL_REPOSITORY_UNREACHABLE');
  });
});

describe('as a GitHub App', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  let github: FakeGitHub;
  let server: GitHttp;

  const start = async (secondsValid = 3600) => {
    github = await startGitHub({ appId: '77', publicKey, repository: 'acme/gitops', secondsValid });
  };
  beforeEach(async () => {
    await start();
    mkdirSync(join(directory, 'acme'));
    remote(join(directory, 'acme/gitops.git'), FILES);
    const valid = (password: string) => github.tokens.some((one) => one.token === password);
    server = await startGitHttp(directory, (user, password) => user === 'x-access-token' && valid(password));
    // As GitHub makes them: PKCS #1.
    writeFileSync(join(directory, 'app.pem'), privateKey.export({ type: 'pkcs1', format: 'pem' }));
  });
  afterEach(async () => {
    await github.stop();
    await server.stop();
  });

  const app = (more: Partial<NonNullable<AccessSettings['githubApp']>> = {}): AccessSettings => ({
    match: server.url,
    githubApp: { appId: '77', privateKey: join(directory, 'app.pem'), apiUrl: github.url, ...more },
  });

  it('reads and pushes with one token, of the one repository', async () => {
    use(app());
    await Promise.all([
      readAndPush(`${server.url}/acme/gitops.git`),
      open(`${server.url}/acme/gitops.git`).then((one) => one.fetchBranch('main')),
    ]);
    await readAndPush(`${server.url}/acme/gitops.git`, 'Deploy again');
    expect(github.tokens).toMatchObject([{ repositories: ['gitops'] }]);
    expect(github.requests).toBe(2);
  });

  it('makes another before one ends, and none to find the installation where that is configured', async () => {
    await github.stop();
    await start(300);
    use(app({ installationId: '4711' }));
    await readAndPush(`${server.url}/acme/gitops.git`);
    expect(github.tokens.length).toBeGreaterThan(1);
    expect(github.requests).toBe(github.tokens.length);
  });

  it('says what it lacks: another key, an App that is not installed, a server that is away', async () => {
    const other = generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey;
    const file = join(directory, 'other.pem');
    writeFileSync(file, other.export({ type: 'pkcs8', format: 'pem' }));
    use(app({ privateKey: file }));
    const wrong = await problemOf(readAndPush(`${server.url}/acme/gitops.git`));
    expect(wrong).toMatchObject({ code: 'TL_REPOSITORY_DENIED', found: expect.stringContaining('401') });
    use(app());
    const absent = await problemOf(readAndPush(`${server.url}/acme/other.git`));
    expect(absent).toMatchObject({
      code: 'TL_REPOSITORY_DENIED',
      hint: expect.stringContaining('Install the App'),
    });
    use(app({ apiUrl: 'http://127.0.0.1:1' }));
    expect((await problemOf(readAndPush(`${server.url}/acme/gitops.git`))).code).toBe(
      'TL_REPOSITORY_UNREACHABLE',
    );
    expect(JSON.stringify([wrong, absent])).not.toMatch(/BEGIN|eyJ/);
  });
});
