// Running other programs, with words for the person who waits.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

/** Something that a person has to do something about: shown without a stack trace. */
export class ClusterError extends Error {}

/** What no waiting cures. */
export class Hopeless extends ClusterError {}

export const say = (text: string) => process.stderr.write(`${text}\n`);

export interface RunOptions {
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly input?: string;
}

/** Runs a program to its end. Gives its output; throws with the end of what it wrote where it failed. */
export async function run(
  program: string,
  parameters: readonly string[],
  options: RunOptions = {},
): Promise<string> {
  const child = execFile(program, [...parameters], {
    maxBuffer: 1 << 26,
    ...(options.cwd ? { cwd: options.cwd } : {}),
    ...(options.env ? { env: options.env } : {}),
  });
  let output = '';
  let errors = '';
  child.stdout?.on('data', (data: string) => {
    output += data;
  });
  child.stderr?.on('data', (data: string) => {
    errors = (errors + data).slice(-8000);
  });
  child.stdin?.on('error', () => undefined); // a program that does not read its input is no error
  child.stdin?.end(options.input);
  const [code, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  if (code === 0) return output;
  throw new ClusterError(
    `${program} ${parameters.slice(0, 4).join(' ')} ended with ${signal ?? code}\n${(errors || output).trim().slice(-4000)}`,
  );
}

/** Whether a program can be run at all, and its output. */
export async function answer(program: string, ...parameters: string[]): Promise<string | undefined> {
  return run(program, parameters).catch(() => undefined);
}

/** Says what is done, how long it has been going on, and how long it took. */
export async function step<T>(what: string, body: () => Promise<T>): Promise<T> {
  const begun = Date.now();
  const seconds = () => Math.round((Date.now() - begun) / 1000);
  say(`  ${what}`);
  const ticking = setInterval(() => say(`  … ${what}, ${seconds()} s`), 15_000);
  try {
    const result = await body();
    if (seconds() >= 3) say(`  ✔ ${what}, ${seconds()} s`);
    return result;
  } finally {
    clearInterval(ticking);
  }
}

/** Asks again and again until something holds. Throws with the last reason where it never does. */
export async function until(
  what: string,
  seconds: number,
  holds: () => Promise<boolean>,
  detail: () => Promise<string> = async () => '',
): Promise<void> {
  const deadline = Date.now() + seconds * 1000;
  let reason = '';
  let hopeless = false;
  for (;;) {
    try {
      if (await holds()) return;
      reason = '';
    } catch (error) {
      reason = error instanceof Error ? error.message : String(error);
      hopeless = error instanceof Hopeless;
    }
    if (hopeless || Date.now() > deadline) {
      throw new ClusterError(
        `${what}: ${hopeless ? '' : `not within ${seconds} s; `}${reason}\n${await detail()}`.trim(),
      );
    }
    await sleep(150);
  }
}

/** Runs a program with our own input and output. Gives its exit code; signals reach it too. */
export async function hand(
  program: string,
  parameters: readonly string[],
  env = process.env,
): Promise<number> {
  const child = spawn(program, [...parameters], { stdio: 'inherit', env });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => child.kill(signal));
  const [code] = (await once(child, 'exit')) as [number | null];
  return code ?? 130;
}
