// How long each activity may take, how its worker's death is noticed, and how it is tried again: with the reason.
import {
  ActivityCancellationType,
  type ActivityOptions,
  proxyActivities,
  workflowInfo,
} from '@temporalio/workflow';
import type { Activities, LineageActivities, WorkerSettings } from '../activities/index.js';
import { isActivityTrace, type Traced } from '../domain/observation.js';
import { lineageQueueOf } from '../domain/temporal-names.js';
import { measureRetries } from './metrics.js';

/**
 * Every activity heartbeats, so that a dead worker is noticed within this time, however long the activity may take. This
 * is for those that run before a worker has said what its operator wants; being short, they lose little.
 */
const DEFAULT_HEARTBEAT_SECONDS = 3;

/**
 * What was lost with its worker goes on at once in another one, however often that happens. An attempt that failed says
 * itself how long to wait, longer each time (worker/activity-context.ts).
 */
const RETRY = { initialInterval: '500ms', backoffCoefficient: 1 } as const;

type Policy = Omit<ActivityOptions, 'summary' | 'heartbeatTimeout'>;

const POLICIES = {
  // Reads git repositories. Nothing has begun yet, so a caller is better served by an answer than by patience.
  prepare: { startToCloseTimeout: '2m', scheduleToCloseTimeout: '3m', retry: RETRY },
  // Adopts its Job in every attempt, so attempts are free; how long the training may take is the plan's (see below).
  // A cancellation is answered when the activity has let go, so that cleaning up finds it quiet.
  train: { retry: RETRY, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED },
  // An hour covers a cold build of a large image; a registry that is away is waited for.
  build: {
    startToCloseTimeout: '1h',
    scheduleToCloseTimeout: '3h',
    retry: RETRY,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  },
  // A training may have taken hours: a git server that is down over lunch must not cost it. The cancellation waits, so
  // that a push that is under way is finished and reported (I6).
  commit: {
    startToCloseTimeout: '10m',
    scheduleToCloseTimeout: '6h',
    retry: RETRY,
    cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
  },
  // Ends by its own deadline (see below): the plan says how long people, or checks, may take. The cancellation waits, so that
  // closing the pull request finds nobody who makes its branch anew.
  merge: { retry: RETRY, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED },
  // One round of a branch's writer: half an hour covers the first fetch of a large repository. The writer tries again
  // itself, with what has been asked for until then, and without what has been taken back.
  write: { startToCloseTimeout: '30m', scheduleToCloseTimeout: '6h', retry: { maximumAttempts: 1 } },
  // Asks a registry for a digest. One that is away is waited for as long as training itself would wait for it.
  resolve: { startToCloseTimeout: '2m', scheduleToCloseTimeout: '1h', retry: RETRY },
  // Some requests to a registry, and a key management service. What is not attested is not deployed, so it is waited for.
  attest: { startToCloseTimeout: '5m', scheduleToCloseTimeout: '3h', retry: RETRY },
  // Ends by its own deadline (see below): the plan says how long Argo CD may take.
  sync: { retry: RETRY, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED },
  // Ends by its own deadline, too. Attempts go on where the last one was, and adopt its Job; a cancellation is answered when
  // nobody asks any more, so that cleaning up finds it quiet.
  verify: { retry: RETRY, cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED },
  // Must succeed in the end, or something keeps running; bounded so that a lost machine does not hold the release.
  cleanUp: { startToCloseTimeout: '5m', scheduleToCloseTimeout: '1h', retry: RETRY },
  // Waits until there is something to send or to write, and comes back now and then in any case. A collector or a store
  // that is away for a week delays that, and nothing else: it runs in a workflow of its own.
  deliver: { startToCloseTimeout: '1h', retry: RETRY },
  // Asks a git server, a cluster and a registry about some targets each; the next look comes in any case.
  check: { startToCloseTimeout: '10m', scheduleToCloseTimeout: '30m', retry: RETRY },
  // Somebody waits for it at a terminal.
  read: { startToCloseTimeout: '30s', scheduleToCloseTimeout: '1m', retry: RETRY },
} as const satisfies Record<string, Policy>;

/** The activities under a policy. The summary is what `temporal workflow show` and the UI print next to the event. */
export function activities(
  policy: keyof typeof POLICIES,
  summary: string,
  settings?: WorkerSettings,
  limits: Pick<ActivityOptions, 'startToCloseTimeout' | 'scheduleToCloseTimeout' | 'taskQueue'> = {},
): Activities & LineageActivities {
  const options: ActivityOptions = {
    ...POLICIES[policy],
    ...limits,
    heartbeatTimeout: (settings?.heartbeatTimeoutSeconds ?? DEFAULT_HEARTBEAT_SECONDS) * 1000,
    summary: summary.slice(0, 200),
  };
  return results(proxyActivities(options));
}

/** Those of processes that reach the lineage store: they poll a queue of their own. */
export function lineageActivities(policy: keyof typeof POLICIES, summary: string): LineageActivities {
  return activities(policy, summary, undefined, { taskQueue: lineageQueueOf(workflowInfo().taskQueue) });
}

/** The activities' results without what is in history for the trace alone. Histories of 0.1.0 have bare results. */
function results(
  proxied: Record<string, (...parameters: unknown[]) => Promise<unknown>>,
): Activities & LineageActivities {
  const entries = new Proxy(proxied, {
    get:
      (target, name: string) =>
      async (...parameters: unknown[]) => {
        const value = await target[name]?.(...parameters);
        if (!isActivityTrace(value)) return value;
        measureRetries(name, value.attempts);
        return (value as Traced<unknown>).result;
      },
  });
  return entries as unknown as Activities & LineageActivities;
}
