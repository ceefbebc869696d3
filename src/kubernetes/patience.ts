// The Kubernetes API is away now and then: a release waits for it, says so, and does not count it as a failure.
import { setTimeout as sleep } from 'node:timers/promises';
import { ThroughlineError } from '../domain/errors.js';
import { asProblem } from './api.js';

const FIRST_MS = 250;
const MOST_MS = 10_000;

/** Repeats while the API does not answer; every other error is the caller's. */
export async function patiently<T>(
  doing: string,
  body: () => Promise<T>,
  signal: AbortSignal,
  report: (doing: string) => void,
): Promise<T> {
  for (let pause = FIRST_MS; ; pause = Math.min(pause * 2, MOST_MS)) {
    try {
      return await body();
    } catch (error) {
      signal.throwIfAborted();
      const problem = asProblem(error, doing);
      if (!(problem instanceof ThroughlineError) || problem.code !== 'TL_KUBERNETES_UNREACHABLE')
        throw problem;
      report(`waiting for the Kubernetes API to ${doing}: ${problem.problem.found ?? problem.message}`);
      await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal });
    }
  }
}
