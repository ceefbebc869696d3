// The demo's own processes: `throughline dev`, and a worker that can be killed and comes back.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { type Problem, ThroughlineError } from '../domain/errors.js';

export const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));

export interface Addresses {
  readonly gateway: string;
  readonly temporal: string;
  readonly ui: string;
}

export interface StartedDev extends Addresses {
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startDevProcess(
  parameters: readonly string[],
  env: NodeJS.ProcessEnv,
  log: string,
  say: (text: string) => void,
): Promise<StartedDev> {
  const file = await open(log, 'a');
  // A session of its own, and nothing of ours that it would miss: with --keep it goes on when the demo has ended.
  const child = spawn(process.execPath, [CLI, 'dev', '--json', ...parameters], {
    env,
    stdio: ['ignore', 'pipe', file.fd],
    detached: true,
  });
  const { stdout } = child;
  if (!stdout) throw new Error('throughline dev has no output');
  const progress = followLog(log, say);
  const started = new Promise<Addresses>((resolve, reject) => {
    createInterface({ input: stdout }).once('line', (line) => {
      const parsed = JSON.parse(line) as Addresses & { error?: Problem };
      if (parsed.error) reject(ThroughlineError.from(parsed.error));
      else resolve(parsed);
    });
    child.once('exit', (code) => reject(new Error(`throughline dev ended with ${code}; its log is ${log}`)));
  });
  started.catch(() => undefined); // waited for below
  await file.close(); // not before somebody listens: it may end at once
  const addresses = await started;
  progress.stop();
  stdout.destroy();
  child.unref();
  return { ...addresses, pid: child.pid ?? 0, stop: () => stopProcess(child) };
}

/** Passes on what `throughline dev` says of its start, which may have to fetch or build Temporal first. */
function followLog(path: string, say: (text: string) => void): { stop(): void } {
  let said = 0;
  const look = () => {
    const lines = readFileSync(path, 'utf8').split('\n').slice(0, -1);
    for (const line of lines.slice(said)) if (/^(?:getting|starting)/.test(line)) say(`  ${line}`);
    said = lines.length;
  };
  const timer = setInterval(look, 200);
  return {
    stop() {
      clearInterval(timer);
      look();
    },
  };
}

/** A worker that is started again whenever it dies, as a Deployment would. */
export class RestartingWorker {
  private child: ChildProcess | undefined;
  private stopping = false;

  constructor(
    private readonly address: string,
    private readonly env: NodeJS.ProcessEnv,
    private readonly log: string,
  ) {}

  async start(): Promise<void> {
    const log = await open(this.log, 'a');
    const child = spawn(process.execPath, [CLI, 'worker', '--address', this.address], {
      env: this.env,
      stdio: ['ignore', log.fd, log.fd],
      detached: true,
    });
    this.child = child;
    child.unref();
    child.once('exit', () => {
      if (!this.stopping) void this.start();
    });
    await log.close();
  }

  /** SIGKILL: no farewell, no clean-up. */
  kill(): void {
    this.child?.kill('SIGKILL');
  }

  async stop(): Promise<void> {
    this.stopping = true;
    if (this.child) await stopProcess(this.child);
  }
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 30_000);
  await exited;
  clearTimeout(timer);
}
