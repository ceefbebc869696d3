// Problems as data, and the error that carries one. Which there are says error-kinds.ts.
import { ERROR_KINDS, type ErrorCode } from './error-kinds.js';

export { ERROR_KINDS, type ErrorCode } from './error-kinds.js';

/** Where a problem is: a file of the repository, and the place in it. Lines and columns count from 1. */
export interface Location {
  readonly file: string;
  readonly line?: number | undefined;
  readonly column?: number | undefined;
}

/** A problem as data: what crosses processes, ends up in history, and is printed. */
export interface Problem {
  readonly code: ErrorCode;
  readonly message: string;
  readonly expected?: string | undefined;
  readonly found?: string | undefined;
  readonly where?: Location | undefined;
  /** What to do, where there is more to say than the registry's remedy. */
  readonly hint?: string | undefined;
  /** Further problems of the same kind (a plan can have several). */
  readonly also?: readonly Problem[] | undefined;
}

/** The error class of the project: a {@link Problem} that can be thrown. */
export class ThroughlineError extends Error {
  override readonly name = 'ThroughlineError';
  readonly problem: Problem;
  /** When a server said that it may be asked again. Whoever tries again keeps to it; it is no part of the problem. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: ErrorCode,
    message: string,
    extra: Omit<Problem, 'code' | 'message'> & {
      cause?: unknown;
      retryAfterSeconds?: number | undefined;
    } = {},
  ) {
    const { cause, retryAfterSeconds, ...rest } = extra;
    super(message, cause === undefined ? undefined : { cause });
    this.problem = { code, message, ...rest };
    this.retryAfterSeconds = retryAfterSeconds;
  }

  get code(): ErrorCode {
    return this.problem.code;
  }

  static from(problem: Problem): ThroughlineError {
    const { code, message, ...rest } = problem;
    return new ThroughlineError(code, message, rest);
  }
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(ERROR_KINDS, value);
}

/** `training/job.yaml:3:5`, as editors and terminals make it clickable. */
export function formatLocation(where: Location): string {
  return [where.file, where.line, where.column].filter((part) => part !== undefined).join(':');
}

/** A problem as text for a terminal: first the fact, then what to do. Ends without a newline. */
export function formatProblem(problem: Problem): string {
  const lines = [
    `${problem.where ? `${formatLocation(problem.where)}: ` : ''}${problem.message} [${problem.code}]`,
  ];
  if (problem.expected !== undefined) lines.push(`  expected: ${problem.expected}`);
  if (problem.found !== undefined) lines.push(`  found:    ${problem.found}`);
  lines.push(`  to do:    ${problem.hint ?? ERROR_KINDS[problem.code].remedy}`);
  for (const other of problem.also ?? []) lines.push(formatProblem(other));
  return lines.join('\n');
}

/** Message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
