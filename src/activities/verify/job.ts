// The Job: good where it succeeds. Run as a training Job is, so that whatever dies it runs once, and is adopted (I2).
import { type ErrorCode, ThroughlineError } from '../../domain/errors.js';
import { formatDuration } from '../../plan/index.js';
import type { JobRunner, TrainingJob } from '../training/runner.js';
import type { Verdict, Verification, VerifyOptions } from './verifier.js';

/** The Job ends at its own deadline; what it is that does not let it begin is said after this time more. Milliseconds. */
const GRACE_MS = 60_000;

/** How a Job can end that says: this deployment has not passed. */
const NOT_PASSED: ReadonlySet<ErrorCode> = new Set([
  'TL_TRAINING_FAILED',
  'TL_TRAINING_TIMEOUT',
  'TL_POD_UNSTARTABLE',
  'TL_JOB_REMOVED',
  'TL_JOB_INVALID',
  'TL_QUOTA_EXCEEDED',
]);

export async function completeJob(
  job: TrainingJob,
  { deadline }: Verification,
  runner: JobRunner,
  options: VerifyOptions,
): Promise<Verdict> {
  const expected = `Job ${job.name} succeeds within ${formatDuration(job.timeout)}`;
  let doing = 'not started';
  const report = (text: string) => {
    doing = text;
    options.report(text);
  };
  const late = AbortSignal.timeout(Math.max(1, Date.parse(deadline) + GRACE_MS - Date.now()));
  try {
    const signal = AbortSignal.any([options.signal, late]);
    const { attempts } = await runner.complete(job, { ...options, report, signal });
    return { passed: true, expected, found: 'it succeeded', samples: attempts };
  } catch (error) {
    options.signal.throwIfAborted();
    if (late.aborted) return { passed: false, expected, found: `no end; last seen: ${doing}` };
    if (!(error instanceof ThroughlineError) || !NOT_PASSED.has(error.code)) throw error;
    const { message, found } = error.problem;
    return { passed: false, expected, found: [message, found].filter(Boolean).join('; ') };
  }
}
