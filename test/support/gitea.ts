// A real Gitea for tests: on loopback, with its own directory, ended by its own process.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { freePort } from '../../src/dev/ports.js';
import { git, temporaryDirectory, writeFiles } from './world.js';

const run = promisify(execFile);

export interface GiteaUser {
  readonly name: string;
  readonly password: string;
  /** May do all that the user may. */
  readonly token: string;
}

export interface GiteaRepository {
  readonly owner: string;
  readonly name: string;
  /** As a plan has it: without a user. */
  readonly url: string;
}

/** Of a branch that people review: nobody pushes to it. */
export const PROTECTED = { rule_name: 'main', enable_push: false };

export class Gitea {
  private process: ChildProcess | undefined;

  private constructor(
    private readonly programs: string,
    private readonly directory: string,
    readonly url: string,
    private readonly admin: { name: string; password: string },
  ) {}

  static async start(): Promise<Gitea> {
    const programs = process.env.GITEA_DIRECTORY;
    if (!programs) throw new Error('run this by `npm run test:cluster`');
    const directory = temporaryDirectory('gitea');
    const port = await freePort(0);
    const gitea = new Gitea(programs, directory, `http://127.0.0.1:${port}`, {
      name: 'operator',
      password: randomBytes(12).toString('hex'),
    });
    mkdirSync(join(directory, 'home'));
    writeFileSync(join(directory, 'app.ini'), settings(directory, programs, port));
    try {
      await gitea.command('migrate');
      const { name, password } = gitea.admin;
      const words = ['--username', name, '--password', password, '--email', `${name}@example.com`, '--admin'];
      await gitea.command('admin', 'user', 'create', '--must-change-password=false', ...words);
      await gitea.run();
    } catch (error) {
      await gitea.remove();
      throw error;
    }
    return gitea;
  }

  get apiUrl(): string {
    return `${this.url}/api/v1`;
  }

  /** Starts it where it does not run, and waits until it answers. */
  async run(): Promise<void> {
    const log = openSync(join(this.directory, 'gitea.log'), 'a');
    const child = spawn(join(this.programs, 'gitea'), [...this.configured('web')], {
      env: this.environment(),
      cwd: this.directory,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.process = child;
    for (let tries = 0; tries < 300; tries += 1) {
      const answer = await fetch(`${this.apiUrl}/version`).catch(() => undefined);
      if (answer?.ok) return;
      if (child.exitCode !== null) break;
      await sleep(100);
    }
    throw new Error(
      `Gitea does not start:\n${readFileSync(join(this.directory, 'gitea.log'), 'utf8').slice(-3000)}`,
    );
  }

  /** Ends the process; what it keeps stays. */
  async halt(): Promise<void> {
    const child = this.process;
    this.process = undefined;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.halt();
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
  }

  async user(name: string): Promise<GiteaUser> {
    const password = randomBytes(12).toString('hex');
    await this.ask('POST', '/admin/users', {
      username: name,
      email: `${name}@example.com`,
      password,
      must_change_password: false,
    });
    return { name, password, token: await this.token({ name, password }, ['all']) };
  }

  async token(user: Pick<GiteaUser, 'name' | 'password'>, scopes: readonly string[]): Promise<string> {
    const made = await this.ask<{ sha1: string }>(
      'POST',
      `/users/${user.name}/tokens`,
      { name: `t-${randomBytes(4).toString('hex')}`, scopes },
      user,
    );
    return made.sha1;
  }

  /** With one commit of those files on main. */
  async repository(
    owner: GiteaUser,
    name: string,
    files: Readonly<Record<string, string>>,
  ): Promise<GiteaRepository> {
    await this.ask('POST', '/user/repos', { name, default_branch: 'main' }, owner);
    const made = { owner: owner.name, name, url: `${this.url}/${owner.name}/${name}.git` };
    const directory = join(this.directory, `work-${owner.name}-${name}`);
    mkdirSync(directory);
    git(directory, 'init', '--quiet', '--initial-branch=main');
    writeFiles(directory, files);
    git(directory, 'add', '--all');
    git(directory, 'commit', '--quiet', '--message', 'Begin');
    git(directory, 'push', '--quiet', this.pushUrl(made, owner), 'main');
    // Until it has seen that, the repository counts as empty, and has no pull requests.
    for (let tries = 0; tries < 100; tries += 1) {
      if (!(await this.ask<{ empty: boolean }>('GET', pathOf(made))).empty) return made;
      await sleep(50);
    }
    throw new Error(`Gitea does not see what was pushed to ${name}`);
  }

  async collaborator(repository: GiteaRepository, user: GiteaUser, permission = 'write'): Promise<void> {
    await this.ask('PUT', `${pathOf(repository)}/collaborators/${user.name}`, { permission });
  }

  async protect(repository: GiteaRepository, rule: Readonly<Record<string, unknown>>): Promise<void> {
    await this.ask('POST', `${pathOf(repository)}/branch_protections`, { ...PROTECTED, ...rule });
  }

  /** For git alone: with the user's password. */
  pushUrl({ url }: GiteaRepository, { name, password }: GiteaUser): string {
    return url.replace('://', `://${name}:${password}@`);
  }

  /** A commit of those files on a branch of its own, from the head of main. Not pushed where no branch is named. */
  commit(
    repository: GiteaRepository,
    user: GiteaUser,
    branch: string,
    files: Readonly<Record<string, string>>,
    message = `Change ${Object.keys(files).join(', ')}`,
  ): string {
    const url = this.pushUrl(repository, user);
    const directory = join(this.directory, `clone-${randomBytes(4).toString('hex')}`);
    git(this.directory, 'clone', '--quiet', url, directory);
    writeFiles(directory, files);
    git(directory, 'add', '--all');
    git(directory, 'commit', '--quiet', '--message', message);
    git(directory, 'push', '--quiet', 'origin', `HEAD:refs/heads/${branch}`);
    const commit = git(directory, 'rev-parse', 'HEAD').trim();
    rmSync(directory, { recursive: true });
    return commit;
  }

  /** Where a branch is; undefined where there is none. */
  head(repository: GiteaRepository, user: GiteaUser, branch: string): string | undefined {
    const listing = git(this.directory, 'ls-remote', this.pushUrl(repository, user), `refs/heads/${branch}`);
    return listing.split('\t')[0] || undefined;
  }

  /** The API, as a user. */
  async ask<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    user: Pick<GiteaUser, 'name' | 'password'> = this.admin,
  ): Promise<T> {
    const response = await fetch(`${this.apiUrl}${path}`, {
      method,
      headers: {
        'content-type': 'application/json',
        authorization: `Basic ${Buffer.from(`${user.name}:${user.password}`).toString('base64')}`,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return (text ? parsed(text) : undefined) as T;
  }

  private configured(...words: readonly string[]): string[] {
    return ['--config', join(this.directory, 'app.ini'), '--work-path', this.directory, ...words];
  }

  private async command(...words: readonly string[]): Promise<void> {
    await run(join(this.programs, 'gitea'), this.configured(...words), {
      env: this.environment(),
      cwd: this.directory,
    });
  }

  private environment(): NodeJS.ProcessEnv {
    return { PATH: process.env.PATH, HOME: join(this.directory, 'home'), TMPDIR: process.env.TMPDIR };
  }
}

export const pathOf = ({ owner, name }: GiteaRepository): string => `/repos/${owner}/${name}`;

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // what the renderer of Markdown gives is HTML
  }
}

function settings(directory: string, programs: string, port: number): string {
  const secret = () => randomBytes(32).toString('hex');
  return `
APP_NAME = forge of a test
RUN_USER = ${userInfo().username}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
RUN_MODE = prod
[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = ${port}
ROOT_URL = http://127.0.0.1:${port}/
STATIC_ROOT_PATH = ${join(programs, 'static')}
DISABLE_SSH = true
OFFLINE_MODE = true
[database]
DB_TYPE = sqlite3
PATH = ${join(directory, 'gitea.db')}
[repository]
ROOT = ${join(directory, 'repositories')}
[security]
INSTALL_LOCK = true
SECRET_KEY = ${secret()}
INTERNAL_TOKEN = ${secret()}
[service]
DISABLE_REGISTRATION = true
[mailer]
ENABLED = false
[indexer]
REPO_INDEXER_ENABLED = false
[cron]
ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
[log]
LEVEL = Warn
MODE = console
`;
}
