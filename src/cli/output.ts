// What commands print: results on standard output, everything else on standard error; with --json one JSON value.
import { formatProblem, messageOf, type Problem, ThroughlineError } from '../domain/errors.js';
import type { OutcomeStatus } from '../domain/release.js';

/** Exit codes: 0 success, 1 failure, 2 wrong usage or input; a release's own ends have theirs. */
export const EXIT = { ok: 0, failed: 1, usage: 2, rejected: 3, canceled: 4, superseded: 5 } as const;

export function exitCodeOf(status: 'RUNNING' | OutcomeStatus): number {
  return {
    RUNNING: EXIT.ok,
    SUCCEEDED: EXIT.ok,
    FAILED: EXIT.failed,
    REJECTED: EXIT.rejected,
    CANCELED: EXIT.canceled,
    SUPERSEDED: EXIT.superseded,
  }[status];
}

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Prints an error for a person, or as JSON, and gives the exit code. No stack for what a person can mend. */
export function printError(error: unknown, json: boolean): number {
  const problem: Problem =
    error instanceof ThroughlineError ? error.problem : { code: 'TL_INTERNAL', message: messageOf(error) };
  if (json) printJson({ error: problem });
  else say(formatProblem(problem));
  if (!(error instanceof ThroughlineError) && process.env.THROUGHLINE_DEBUG) console.error(error);
  return problem.code === 'TL_INTERNAL' || problem.code === 'TL_TEMPORAL_UNAVAILABLE'
    ? EXIT.failed
    : EXIT.usage;
}
