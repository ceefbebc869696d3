// Detached tasks: commands that go on when the process that started them is gone, and that any later process can adopt,
// read and stop. The same for training programs and for image builders.
import { spawn } from 'node:child_process';
import { mkdir, open, rm } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ThroughlineError } from '../domain/errors.js';
import { createExclusively, readJson, readText } from './files.js';
import { attemptNumbers, layout, type TaskSpec, type TaskStatus } from './layout.js';
import { liveOwner } from './ownership.js';

export type { AttemptStatus, TaskSpec, TaskStatus } from './layout.js';

const POLL_MS = 100;
/** A supervisor that was started but took no ownership within this time is started again. */
const SUPERVISOR_START_MS = 10_000;

// The supervisor is a program of its own; from the sources (tests) it is still the built one that runs.
const SUPERVISOR = fileURLToPath(new URL('../../dist/processes/supervisor.js', import.meta.url));

/**
 * Starts the task, or adopts it where it was started before, by whomever and however long ago. Safe to call from
 * several processes at once: the command runs once (I2).
 */
export async function startTask(task: string, spec: TaskSpec): Promise<void> {
  await mkdir(task, { recursive: true, mode: 0o700 });
  // The first specification stands: a later one may differ in the environment of the worker that offers it.
  await createExclusively(layout.spec(task), JSON.stringify(spec));
  await ensureSupervised(task);
}

/** How the task ended; undefined while it runs. */
export function taskStatus(task: string): Promise<TaskStatus | undefined> {
  return readJson<TaskStatus>(layout.status(task));
}

/** Waits for the task's end. Throws the signal's reason when aborted; the task goes on then. */
export async function waitForTask(task: string, signal: AbortSignal): Promise<TaskStatus> {
  for (;;) {
    const status = await taskStatus(task);
    if (status) return status;
    await ensureSupervised(task);
    await sleep(POLL_MS, undefined, { signal });
  }
}

/**
 * Stops the task and waits until nothing of it is left. Also right where it was never started: it cannot be started
 * any more then (an attempt of a dead worker may still be on its way).
 */
export async function cancelTask(task: string, signal: AbortSignal): Promise<TaskStatus> {
  await mkdir(task, { recursive: true, mode: 0o700 });
  await createExclusively(layout.cancel(task), '');
  if ((await readText(layout.spec(task))) === undefined) {
    const status: TaskStatus = { state: 'canceled', attempts: [] };
    await createExclusively(layout.status(task), JSON.stringify(status));
  }
  return waitForTask(task, signal);
}

/** The directory of the last attempt, and its number; undefined before the first. */
export async function lastAttempt(
  task: string,
): Promise<{ number: number; directory: string; log: string } | undefined> {
  const number = (await attemptNumbers(task)).at(-1);
  if (number === undefined) return undefined;
  return { number, directory: layout.attempt(task, number), log: layout.log(task, number) };
}

/** Up to `bytes` of a log from `offset`; a negative offset counts from the end. */
export async function readLog(
  path: string,
  offset: number,
  bytes: number,
): Promise<{ text: string; from: number; next: number; size: number }> {
  const file = await open(path, 'r').catch(() => undefined);
  if (!file) return { text: '', from: 0, next: 0, size: 0 };
  try {
    const { size } = await file.stat();
    const from = Math.min(size, offset < 0 ? Math.max(0, size + offset) : offset);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, from);
    const whole = wholeCharacters(buffer.subarray(0, bytesRead), from + bytesRead < size);
    return { text: whole.toString('utf8'), from, next: from + whole.length, size };
  } finally {
    await file.close();
  }
}

/** Leaves out the first bytes of a character that the next page completes. */
function wholeCharacters(page: Buffer, moreFollows: boolean): Buffer {
  if (!moreFollows) return page;
  let start = page.length - 1;
  while (start > 0 && page.length - start < 4 && ((page[start] ?? 0) & 0xc0) === 0x80) start -= 1;
  const lead = page[start] ?? 0;
  const length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc0 ? 2 : 1;
  return start + length > page.length ? page.subarray(0, start) : page;
}

/** Removes a task that has ended, with everything that it left. */
export async function removeTask(task: string): Promise<void> {
  await rm(task, { recursive: true, force: true, maxRetries: 10 });
}

async function ensureSupervised(task: string): Promise<void> {
  const startedAt = Date.now();
  let spawned = false;
  while (!(await taskStatus(task)) && !(await liveOwner(task))) {
    if (!spawned) {
      await spawnSupervisor(task);
      spawned = true;
    }
    if (Date.now() - startedAt > SUPERVISOR_START_MS) {
      throw new ThroughlineError('TL_INTERNAL', `The supervisor of ${task} does not start`, {
        found: (await readText(layout.supervisorLog(task)))?.slice(-2000),
      });
    }
    await sleep(20);
  }
}

async function spawnSupervisor(task: string): Promise<void> {
  const log = await open(layout.supervisorLog(task), 'a', 0o600);
  try {
    const supervisor = spawn(process.execPath, [SUPERVISOR, task], {
      cwd: '/',
      env: {}, // what the command needs is in its specification; nothing of the worker's leaks (I9)
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
    });
    await new Promise<void>((resolve, reject) => supervisor.once('spawn', resolve).once('error', reject));
    supervisor.unref();
  } finally {
    await log.close();
  }
}
