// The supervisor of one detached task: a process of its own, which outlives the worker that started it. It runs the
// command, runs it again where the task allows, stops it at its deadline or on the wish to cancel, and writes down how
// it ended. What it keeps:
//
//   S1  One supervisor at a time (ownership.ts).
//   S2  An attempt starts at most once, also where a supervisor died while starting it: the shell that becomes the
//       command's parent claims the attempt by making a directory, and gives way where that exists.
//   S3  Its own death loses nothing: the shell records the exit code, a successor adopts what still runs.
//   S4  When it has written the status, nothing of the task's process groups is left.
import { spawn } from 'node:child_process';
import { mkdir, open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createExclusively, exists, readJson, readText } from './files.js';
import { identify, signalGroup } from './identity.js';
import { type AttemptStatus, attemptNumbers, layout, type TaskSpec, type TaskStatus } from './layout.js';
import { becomeOwner } from './ownership.js';
import { expandReferences } from './references.js';

const POLL_MS = 100;
/** How long a claimed attempt may take to record its process id before it counts as lost. */
const CLAIM_GRACE_MS = 5_000;
const MAX_BACKOFF_SECONDS = 60;

// The trap keeps the shell alive through a SIGTERM to the group until the command has ended; a handler, unlike an
// ignored signal, is not inherited by the command.
const SHELL = `
mkdir "$1" 2>/dev/null || exit 0
claim=$1; shift
trap : TERM INT HUP
boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)
ticks=$(cut -d ' ' -f 22 "/proc/$$/stat" 2>/dev/null)
echo "$$ $boot/$ticks" > "$claim/pid.tmp" && mv "$claim/pid.tmp" "$claim/pid"
"$@"
code=$?
echo $code > "$claim/exit.tmp" && mv "$claim/exit.tmp" "$claim/exit"
exit $code
`;

type Ending = 'exited' | 'deadline' | 'canceled';

/** Runs a task to its end. Returns at once where another supervisor owns it or it has ended already. */
export async function supervise(task: string): Promise<void> {
  if (!(await becomeOwner(task))) return; // S1
  if (await exists(layout.status(task))) return;
  const spec = await readJson<TaskSpec>(layout.spec(task));
  if (!spec) throw new Error(`${task} has no specification`);

  let number = (await attemptNumbers(task)).at(-1) ?? 0;
  if (number > 0 && (await exists(layout.claim(task, number)))) {
    // S3: a predecessor started this one; what it does or did is on disk.
    const ending = await watch(task, number, spec);
    if (ending !== 'exited') return finish(task, ending);
    if ((await exitCode(task, number)) === 0) return finish(task, 'succeeded');
  } else if (number > 0) {
    number -= 1; // its directory was made, but nobody claimed it
  }
  while (number < spec.attempts) {
    const pause = number === 0 ? 0 : Math.min(spec.backoffSeconds * 2 ** (number - 1), MAX_BACKOFF_SECONDS);
    const interrupted = await pauseBefore(task, spec, pause);
    if (interrupted) return finish(task, interrupted);
    number += 1;
    await start(task, number, spec);
    const ending = await watch(task, number, spec);
    if (ending !== 'exited') return finish(task, ending);
    if ((await exitCode(task, number)) === 0) return finish(task, 'succeeded');
  }
  return finish(task, 'failed');
}

async function start(task: string, number: number, spec: TaskSpec): Promise<void> {
  const attempt = layout.attempt(task, number);
  await mkdir(attempt, { recursive: true });
  for (const directory of spec.attemptDirectories) await mkdir(join(attempt, directory), { recursive: true });
  const env: Record<string, string> = { ...spec.env };
  for (const [name, path] of Object.entries(spec.attemptPaths)) env[name] = join(attempt, path);
  const command = spec.expandReferences
    ? spec.command.map((word) => expandReferences(word, env))
    : spec.command;
  const log = await open(layout.log(task, number), 'a', 0o600);
  try {
    const shell = spawn('/bin/sh', ['-c', SHELL, 'sh', layout.claim(task, number), ...command], {
      cwd: spec.cwd,
      env,
      detached: true, // a session and process group of its own, so that it can be stopped whole
      stdio: ['ignore', log.fd, log.fd],
    });
    await new Promise<void>((resolve, reject) => shell.once('spawn', resolve).once('error', reject));
    shell.unref();
  } finally {
    await log.close();
  }
}

/** Waits until the attempt has ended, or ends it. */
async function watch(task: string, number: number, spec: TaskSpec): Promise<Ending> {
  const claimBy = Date.now() + CLAIM_GRACE_MS;
  for (;;) {
    const shell = await shellOf(task, number);
    const leader = shell?.pid ?? 0;
    if (shell) {
      if (await exists(layout.exit(task, number))) {
        await stopGroup(leader, 0); // S4: as in a pod, what the program left behind ends with it
        return 'exited';
      }
      if (!(await isShellAlive(shell))) {
        // The shell was killed before it could record an end. A number in use as a group is not given to a process,
        // so where no process has it, the group that still answers is the command itself.
        if (!(await identify(leader))) await stopGroup(leader, spec.graceSeconds);
        return 'exited';
      }
    } else if (Date.now() > claimBy) {
      return 'exited'; // lost between claim and start
    }
    const interrupted = await interruption(task, spec);
    if (interrupted && (leader > 0 || Date.now() > claimBy)) {
      if (leader > 0) await stopGroup(leader, spec.graceSeconds);
      return interrupted;
    }
    await sleep(POLL_MS);
  }
}

/** The attempt's shell, as it wrote itself down; undefined before it has. */
async function shellOf(task: string, number: number): Promise<{ pid: number; started: string } | undefined> {
  const [pid, started = ''] = ((await readText(layout.pid(task, number))) ?? '').trim().split(' ');
  return Number(pid) > 0 ? { pid: Number(pid), started } : undefined;
}

/** A process id may be used again; when the process started tells the two apart (identity.ts). */
async function isShellAlive(shell: { pid: number; started: string }): Promise<boolean> {
  const now = await identify(shell.pid);
  return now !== undefined && (now.started === shell.started || !/^[^/]+\/\d+$/.test(shell.started));
}

async function interruption(task: string, spec: TaskSpec): Promise<'deadline' | 'canceled' | undefined> {
  if (await exists(layout.cancel(task))) return 'canceled';
  if (spec.deadlineSeconds === undefined) return undefined;
  const first = await stat(layout.pid(task, 1)).catch(() => undefined);
  return first && Date.now() - first.mtimeMs > spec.deadlineSeconds * 1000 ? 'deadline' : undefined;
}

async function pauseBefore(
  task: string,
  spec: TaskSpec,
  seconds: number,
): Promise<'deadline' | 'canceled' | undefined> {
  const until = Date.now() + seconds * 1000;
  for (;;) {
    const interrupted = await interruption(task, spec);
    if (interrupted || Date.now() >= until) return interrupted;
    await sleep(Math.min(POLL_MS, Math.max(1, until - Date.now())));
  }
}

/** Ends a process group: SIGTERM, then SIGKILL after the grace; returns when nothing of it is left. */
async function stopGroup(leader: number, graceSeconds: number): Promise<void> {
  const killAt = Date.now() + graceSeconds * 1000;
  if (graceSeconds > 0) signalGroup(leader, 'SIGTERM');
  while (signalGroup(leader, 0)) {
    if (Date.now() >= killAt) signalGroup(leader, 'SIGKILL');
    await sleep(20);
    if (Date.now() > killAt + 10_000) return; // uninterruptible in the kernel: not ours to wait for
  }
}

async function finish(task: string, state: TaskStatus['state']): Promise<void> {
  const attempts: AttemptStatus[] = [];
  for (const number of await attemptNumbers(task)) {
    // Written once, when the command was about to start.
    const claimed = await stat(layout.pid(task, number)).catch(() => undefined);
    if (!claimed) continue;
    const ended = await stat(layout.exit(task, number)).catch(() => undefined);
    attempts.push({
      number,
      startedAt: claimed.mtime.toISOString(),
      endedAt: (ended?.mtime ?? new Date()).toISOString(),
      exitCode: await exitCode(task, number),
    });
  }
  await createExclusively(layout.status(task), JSON.stringify({ state, attempts } satisfies TaskStatus));
}

async function exitCode(task: string, number: number): Promise<number | undefined> {
  const text = await readText(layout.exit(task, number));
  return text === undefined ? undefined : Number(text);
}

const task = process.argv[2];
if (process.argv[1]?.endsWith('supervisor.js') && task !== undefined) {
  // The terminal or the worker that started it may go away; only the task's own files tell it to stop.
  for (const signal of ['SIGHUP', 'SIGINT'] as const) process.on(signal, () => {});
  await supervise(task);
}
