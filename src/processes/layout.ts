// What a detached task is, and where each part of it lies on disk. Everything that is known of a task is in its
// directory, so that any process, now or after a crash, sees the same.
//
//   spec.json           what to run; written once
//   owner.<n>           which supervisor runs it; the highest number counts
//   cancel              the wish to stop it; never taken back
//   status.json         how it ended; written once, last
//   attempts/<n>/       one run of the command: claim/ (pid, exit), log, and what the command writes
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface TaskSpec {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Variables whose value is a path below the attempt's own directory. */
  readonly attemptPaths: Readonly<Record<string, string>>;
  /** Directories to make below the attempt's own directory before the command starts. */
  readonly attemptDirectories: readonly string[];
  /** Whether `$(NAME)` in the command is replaced, as Kubernetes does in `command` and `args`. */
  readonly expandReferences: boolean;
  /** How often the command may run until it ends with 0. */
  readonly attempts: number;
  /** Pause before the second run; doubled for each further one, up to a minute. */
  readonly backoffSeconds: number;
  /** From the first start; the command is stopped then, and not run again. */
  readonly deadlineSeconds?: number | undefined;
  /** Between SIGTERM and SIGKILL. */
  readonly graceSeconds: number;
}

export interface AttemptStatus {
  readonly number: number;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly endedAt?: string | undefined;
  /** As a shell reports it: 128 + n where signal n ended it. Absent where nobody saw the end. */
  readonly exitCode?: number | undefined;
}

export interface TaskStatus {
  readonly state: 'succeeded' | 'failed' | 'deadline' | 'canceled';
  readonly attempts: readonly AttemptStatus[];
}

export const layout = {
  spec: (task: string) => join(task, 'spec.json'),
  owner: (task: string, generation: number) => join(task, `owner.${generation}`),
  cancel: (task: string) => join(task, 'cancel'),
  status: (task: string) => join(task, 'status.json'),
  supervisorLog: (task: string) => join(task, 'supervisor.log'),
  attempts: (task: string) => join(task, 'attempts'),
  attempt: (task: string, number: number) => join(task, 'attempts', String(number)),
  claim: (task: string, number: number) => join(task, 'attempts', String(number), 'claim'),
  pid: (task: string, number: number) => join(task, 'attempts', String(number), 'claim', 'pid'),
  exit: (task: string, number: number) => join(task, 'attempts', String(number), 'claim', 'exit'),
  log: (task: string, number: number) => join(task, 'attempts', String(number), 'log'),
};

/** Numbers of the attempts that a task has had, from 1. */
export async function attemptNumbers(task: string): Promise<number[]> {
  const names = await readdir(layout.attempts(task)).catch(() => []);
  return names
    .map(Number)
    .filter((number) => Number.isInteger(number) && number > 0)
    .sort((a, b) => a - b);
}

/** Generations of owner files, from 1. */
export async function ownerGenerations(task: string): Promise<number[]> {
  const names = await readdir(task).catch(() => []);
  return names
    .map((name) => /^owner\.(\d+)$/.exec(name)?.[1])
    .filter((text) => text !== undefined)
    .map(Number)
    .sort((a, b) => a - b);
}
