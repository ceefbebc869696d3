// What a check of a deployment came to.

export const CHECK_KINDS = ['health', 'http', 'job', 'prometheus'] as const;

export type CheckKind = (typeof CHECK_KINDS)[number];

/** One check of one environment. Times are ISO 8601, UTC. */
export interface VerifyResult {
  readonly environment: string;
  readonly name: string;
  readonly kind: CheckKind;
  readonly passed: boolean;
  /** What would be good, in a person's words. */
  readonly expected: string;
  /** What was there when it was decided. */
  readonly found: string;
  readonly startedAt: string;
  readonly endedAt: string;
  /** How many answers were judged; of a Job, how many runs it needed; of health, how often was looked. */
  readonly samples?: number | undefined;
}

/** A check in one line. */
export function describeVerification({ name, passed, found }: VerifyResult): string {
  return `${name} ${passed ? 'passed' : 'failed'}: ${found.split('\n', 1)[0]}`;
}
