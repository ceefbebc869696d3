// A release whose caller has stopped asking for it ends, where the operator wants that: Spinnaker stops polling without a
// word when another branch of the pipeline fails.
import { CancellationScope, condition, defineSignal, isCancellation, setHandler } from '@temporalio/workflow';
import { POLLED_SIGNAL } from '../domain/temporal-names.js';

export const polledSignal = defineSignal(POLLED_SIGNAL);

/** Nobody can ask while Temporal is away; when it is back, callers have this long, or their lease. Seconds. */
const GRACE_SECONDS = 60;

/** Nobody has asked for the release for so long. */
export class LeaseExpired extends Error {
  constructor(readonly seconds: number) {
    super(`its caller has not asked for it for ${seconds} s`);
  }
}

/** Runs something that is canceled when nobody has asked for the release for so many seconds. Throws LeaseExpired. */
export async function leased(seconds: number | undefined, run: () => Promise<void>): Promise<void> {
  if (seconds === undefined) return run();
  let polls = 0;
  setHandler(polledSignal, () => {
    polls += 1;
  });
  const asked = (within: number) => {
    const before = polls;
    return condition(() => polls !== before, within * 1000);
  };
  const scope = new CancellationScope();
  let expired = false;
  const watch = new CancellationScope();
  const watching = watch.run(async () => {
    while ((await asked(seconds)) || (await asked(Math.min(seconds, GRACE_SECONDS))));
    expired = true;
    scope.cancel();
  });
  watching.catch(() => undefined); // canceled when the release has ended
  try {
    await scope.run(run);
  } catch (error) {
    if (expired && isCancellation(error)) throw new LeaseExpired(seconds);
    throw error;
  } finally {
    watch.cancel();
  }
}
