// The embedded Temporal server: the CLI's development server with its state in a file, so that a second start goes on
// where the first stopped.
import { spawn } from 'node:child_process';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { ThroughlineError } from '../domain/errors.js';
import {
  identify,
  isAlive,
  type ProcessIdentity,
  readJson,
  readText,
  writeAtomically,
} from '../processes/index.js';
import { freePort } from './ports.js';

const START_TIMEOUT_MS = 60_000;
const START_ATTEMPTS = 3;

export interface TemporalServer {
  readonly address: string;
  readonly uiUrl: string;
  /** Rejects where the server ends by itself. */
  readonly failed: Promise<never>;
  stop(): Promise<void>;
}

export interface TemporalServerOptions {
  readonly binary: string;
  /** Its database and log lie below this directory. */
  readonly data: string;
  /** What is wanted; 0 is any. */
  readonly port: number;
  readonly uiPort: number;
}

/**
 * Starts it, on other ports where the wanted ones are taken. It chooses more of them for itself, and anybody may take one in
 * between: a server that ends before it serves is started again, a few times.
 */
export async function startTemporalServer(options: TemporalServerOptions): Promise<TemporalServer> {
  for (let attempt = 1; ; attempt += 1) {
    const port = await freePort(options.port);
    const uiPort = await freePort(options.uiPort);
    try {
      return await launch({ ...options, port, uiPort });
    } catch (error) {
      const ended = error instanceof ThroughlineError && error.code === 'TL_TEMPORAL_UNAVAILABLE';
      if (!ended || attempt === START_ATTEMPTS) throw error;
    }
  }
}

async function launch({ binary, data, port, uiPort }: TemporalServerOptions): Promise<TemporalServer> {
  const directory = join(data, 'temporal');
  const record = join(directory, 'server.json');
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await stopOrphan(record);

  const logPath = join(directory, 'server.log');
  const log = await open(logPath, 'a', 0o600);
  const server = spawn(
    binary,
    [
      'server',
      'start-dev',
      '--ip',
      '127.0.0.1',
      '--port',
      String(port),
      '--ui-ip',
      '127.0.0.1',
      '--ui-port',
      String(uiPort),
      '--db-filename',
      join(directory, 'temporal.db'),
      '--log-level',
      'warn',
    ],
    // A group of its own: an interrupt at the terminal reaches us first, and we stop it last.
    { stdio: ['ignore', log.fd, log.fd], detached: true },
  );
  let stopping = false;
  const exited = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const failed = new Promise<never>((_, reject) => {
    const broken = async (why: string) => {
      if (stopping) return;
      const tail = ((await readText(logPath)) ?? '').trimEnd().slice(-1000);
      reject(
        new ThroughlineError('TL_TEMPORAL_UNAVAILABLE', `The embedded Temporal server ${why}`, {
          found: tail || logPath,
        }),
      );
    };
    server.once('error', (error) => broken(`does not start: ${error.message}`));
    server.once('exit', (code, signal) => broken(`ended (${signal ?? `exit code ${code}`})`));
  });
  failed.catch(() => undefined); // whoever waits for it gets it; nobody waiting is no crash
  await log.close(); // not before somebody listens: it may end at once
  if (server.pid !== undefined) {
    await writeAtomically(record, JSON.stringify((await identify(server.pid)) ?? null));
  }
  const address = `127.0.0.1:${port}`;
  const stop = async () => {
    stopping = true;
    server.kill('SIGTERM');
    const timer = setTimeout(() => server.kill('SIGKILL'), 10_000);
    if (server.exitCode === null && server.signalCode === null) await exited;
    clearTimeout(timer);
  };
  try {
    await Promise.race([untilServing(address), failed]);
  } catch (error) {
    await stop();
    throw error;
  }
  return { address, uiUrl: `http://127.0.0.1:${uiPort}`, failed, stop };
}

/** A server whose owner was killed holds the database: it is ended first. */
async function stopOrphan(record: string): Promise<void> {
  const orphan = await readJson<ProcessIdentity | null>(record);
  if (!orphan || !(await isAlive(orphan))) return;
  process.kill(orphan.pid, 'SIGTERM');
  for (let waited = 0; await isAlive(orphan); waited += 100) {
    if (waited === 5_000) process.kill(orphan.pid, 'SIGKILL');
    await sleep(100);
  }
}

async function untilServing(address: string): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  for (;;) {
    try {
      const connection = await Connection.connect({ address, connectTimeout: '2s' });
      try {
        await connection.workflowService.describeNamespace({ namespace: 'default' });
        return;
      } finally {
        await connection.close();
      }
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(150);
    }
  }
}
