// Checks of deployments, by what is asked: Argo CD and pods, HTTP, Prometheus, a Job.
import { ThroughlineError } from '../../domain/errors.js';
import type { CheckKind, VerifyResult } from '../../domain/verification.js';
import { verifyObservation } from '../../telemetry/observations.js';
import type { Look } from '../argocd/watcher.js';
import type { JobRunner } from '../training/runner.js';
import { stayHealthy } from './health.js';
import { probe } from './http.js';
import { completeJob } from './job.js';
import { queryUntilHeld } from './prometheus.js';
import { Requests } from './requests.js';
import type { Verdict, Verification, Verifier, VerifyOptions } from './verifier.js';

export type { Verdict, Verification, Verifier, VerifyOptions } from './verifier.js';

/** What attempts remember: since when the check goes on, and how far whoever asks has come. */
interface Remembered {
  readonly startedAt: string;
  readonly state?: unknown;
}

/** Results are in the release's record, which goes along with everything: of a long one its beginning and its end. */
const MAX_TEXT = 2_000;

const bounded = (text: string) =>
  text.length > MAX_TEXT ? `${text.slice(0, 500)} … ${text.slice(text.length - (MAX_TEXT - 503))}` : text;

export class DeploymentVerifier implements Verifier {
  private readonly requests: Requests;

  /** `allows` is asked before every request, with the URL as it is then. */
  constructor(
    private readonly runner: JobRunner,
    allows: { readonly url: (url: string) => boolean; readonly everything: boolean },
  ) {
    this.requests = new Requests(allows);
  }

  async verify(
    verification: Verification,
    options: VerifyOptions,
    looks?: AsyncIterable<Look>,
  ): Promise<VerifyResult> {
    const { environment, check } = verification;
    const before = options.remembered as Remembered | undefined;
    const startedAt = before?.startedAt ?? new Date().toISOString();
    const { kind, decide } = this.way(verification, looks);
    const known = { environment, name: check.name, kind, startedAt };
    options.observe(verifyObservation(known));
    const verdict = await decide({
      ...options,
      remembered: before?.state,
      remember: (state) => options.remember({ startedAt, state } satisfies Remembered),
    });
    const result = {
      ...known,
      ...verdict,
      expected: bounded(verdict.expected),
      found: bounded(verdict.found),
      endedAt: new Date().toISOString(),
    };
    options.observe(verifyObservation(result));
    return result;
  }

  private way(
    verification: Verification,
    looks: AsyncIterable<Look> | undefined,
  ): {
    kind: CheckKind;
    decide: (options: VerifyOptions) => Promise<Verdict>;
  } {
    const { check, job } = verification;
    const { health, http, prometheus } = check;
    if (health && looks)
      return { kind: 'health', decide: (options) => stayHealthy(health, verification, looks, options) };
    if (http) return { kind: 'http', decide: (options) => probe(http, verification, this.requests, options) };
    if (prometheus) {
      const decide = (options: VerifyOptions) =>
        queryUntilHeld(prometheus, verification, this.requests, options);
      return { kind: 'prometheus', decide };
    }
    if (job) {
      return { kind: 'job', decide: (options) => completeJob(job, verification, this.runner, options) };
    }
    throw new ThroughlineError(
      'TL_INTERNAL',
      `The check ${check.name} is of a kind that this worker does not know`,
    );
  }
}
