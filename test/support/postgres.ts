// A PostgreSQL server for tests: the machine's own programs, a directory and a port of its own.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { chownSync, cpSync, existsSync, readdirSync, rmSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePort } from '../../src/dev/ports.js';
import { temporaryDirectory } from './world.js';

const run = promisify(execFile);

/** It refuses to run as root. */
const NOBODY = 65_534;
const isRoot = process.getuid?.() === 0;
const user = isRoot ? { uid: NOBODY, gid: NOBODY } : {};

const { THROUGHLINE_TEST_POSTGRES: found, THROUGHLINE_TEST_POSTGRES_LIBRARIES: libraries } = process.env;
const env = { ...process.env, ...(libraries ? { LD_LIBRARY_PATH: libraries } : {}) };

/** As `npm test` has found it, or where Debian puts it. */
function programs(directory: string): string {
  if (found && libraries && isRoot) {
    // Nobody reaches the cache of root.
    const tree = join(found, '../../../../..');
    const own = join(directory, 'programs');
    if (!existsSync(own)) cpSync(tree, own, { recursive: true, verbatimSymlinks: true });
    return join(own, relative(tree, found));
  }
  if (found) return found;
  const debian = '/usr/lib/postgresql';
  const [newest] = existsSync(debian) ? readdirSync(debian).sort((a, b) => Number(b) - Number(a)) : [];
  if (!newest) throw new Error('no PostgreSQL server is here: run this by `npm test`');
  return join(debian, newest, 'bin');
}

export class Postgres {
  private process: ChildProcess | undefined;

  private constructor(
    private readonly directory: string,
    private readonly port: number,
  ) {}

  static async start(): Promise<Postgres> {
    const directory = temporaryDirectory('postgres');
    if (isRoot) chownSync(directory, NOBODY, NOBODY);
    const server = new Postgres(directory, await freePort(0));
    const words = ['-D', join(directory, 'data'), '-U', 'throughline', '--auth=trust', '--encoding=UTF8'];
    await run(join(programs(directory), 'initdb'), [...words, '--locale=C.UTF-8', '--no-sync'], {
      ...user,
      env,
      cwd: directory,
    });
    await server.run();
    return server;
  }

  get url(): string {
    return `postgres://throughline@127.0.0.1:${this.port}/postgres`;
  }

  /** Another empty database of the server. */
  async database(name: string): Promise<string> {
    const client = new Client({ connectionString: this.url });
    await client.connect();
    await client.query(`create database "${name}"`);
    await client.end();
    return this.url.replace(/\/postgres$/, `/${name}`);
  }

  async run(): Promise<void> {
    const words = [
      ...['-D', join(this.directory, 'data'), '-p', String(this.port), '-c', 'listen_addresses=127.0.0.1'],
      ...['-c', `unix_socket_directories=${this.directory}`],
    ];
    this.process = spawn(join(programs(this.directory), 'postgres'), words, {
      ...user,
      env,
      stdio: 'ignore',
      cwd: this.directory,
    });
    const deadline = Date.now() + 30_000;
    for (;;) {
      const client = new Client({ connectionString: this.url });
      try {
        await client.connect();
        await client.end();
        return;
      } catch (error) {
        await client.end().catch(() => undefined);
        if (Date.now() > deadline) throw error;
        await sleep(50);
      }
    }
  }

  /** Ends it at once, as the power would. */
  async kill(signal: NodeJS.Signals = 'SIGQUIT'): Promise<void> {
    const { process: child } = this;
    this.process = undefined;
    if (!child) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    await gone;
  }

  async stop(): Promise<void> {
    await this.kill('SIGINT');
    rmSync(this.directory, { recursive: true, force: true });
  }
}
