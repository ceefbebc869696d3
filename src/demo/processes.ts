// The demo's own processes: `throughline dev`, and a worker that can be killed and comes back.
import { type ChildProcess, spawn } from 'node:child_process';
import { open } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));

export interface Addresses {
  readonly gateway: string;
  readonly temporal: string;
  readonly ui: string;
}

export interface StartedDev extends Addresses {
  stop(): Promise<void>;
}

export async function startDevProcess(
  parameters: readonly string[],
  env: NodeJS.ProcessEnv,
  say: (text: string) => void,
): Promise<StartedDev> {
  const child = spawn(process.execPath, [CLI, 'dev', '--json', ...parameters], {
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const errors: string[] = [];
  createInterface({ input: child.stderr }).on('line', (line) => {
    if (line.startsWith('{'))
      errors.push(line); // its log
    else if (/^(?:getting|starting)/.test(line)) say(`  ${line}`);
    else errors.push(line);
  });
  const addresses = await new Promise<Addresses>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', (line) => {
      const parsed = JSON.parse(line) as Addresses & { error?: { message: string } };
      if (parsed.error) reject(new Error(parsed.error.message));
      else resolve(parsed);
    });
    child.once('exit', (code) =>
      reject(new Error(`throughline dev ended with ${code}: ${errors.slice(-5).join('\n')}`)),
    );
  });
  return { ...addresses, stop: () => stopProcess(child) };
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
    });
    await log.close();
    this.child = child;
    child.once('exit', () => {
      if (!this.stopping) void this.start();
    });
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
