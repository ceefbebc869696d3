// From what Temporal reports of a failed activity back to the problem that a person can act on.
import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';
import { isErrorCode, messageOf, type Problem, ThroughlineError } from '../domain/errors.js';

/** The problem behind an error, as the activity reported it. */
export function problemOf(error: unknown): Problem {
  if (error instanceof ThroughlineError) return error.problem;
  const cause = error instanceof ActivityFailure ? error.cause : error;
  const reported = reportedProblem(cause);
  if (reported) return reported;
  if (cause instanceof TimeoutFailure) {
    const last = reportedProblem(cause.cause);
    const activity = error instanceof ActivityFailure ? error.activityType : 'the activity';
    // What every try failed with says more than that there was no time for another.
    if (last) return { ...last, message: `${last.message} (given up after the deadline)` };
    return {
      code: 'TL_WAITED_TOO_LONG',
      message: `${activity} did not end within its deadline`,
      found: cause.message,
    };
  }
  return { code: 'TL_INTERNAL', message: messageOf(cause) };
}

function reportedProblem(cause: unknown): Problem | undefined {
  if (!(cause instanceof ApplicationFailure)) return undefined;
  const [problem] = (cause.details ?? []) as unknown[];
  if (typeof problem === 'object' && problem !== null && 'code' in problem && isErrorCode(problem.code)) {
    return problem as Problem;
  }
  return undefined;
}

/** A release that failed closes its workflow as failed, with the problem as its failure's details. */
export function asWorkflowFailure(problem: Problem): ApplicationFailure {
  return ApplicationFailure.create({
    message: problem.message,
    type: problem.code,
    nonRetryable: true,
    details: [problem],
  });
}
