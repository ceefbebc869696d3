// The writer of a GitOps branch. There is one for each branch that releases deploy to, as long as they do: it collects what
// they ask for, and writes it in rounds of one fetch, a commit for each release, and one push. So releases of a hundred
// models do not race each other for the tip; whoever else pushes is what is left to race with.
//
// It keeps nothing that git does not: a release that asks again, of another run or another worker, finds its commit (I3).
import {
  ActivityFailure,
  ApplicationFailure,
  allHandlersFinished,
  condition,
  continueAsNew,
  defineQuery,
  defineUpdate,
  setCurrentDetails,
  setHandler,
  sleep,
  workflowInfo,
} from '@temporalio/workflow';
import type { WriterRequest } from '../activities/index.js';
import type { Problem } from '../domain/errors.js';
import type { DeploymentKey, GitOpsBranch, WriterState, WrittenDeployment } from '../domain/gitops.js';
import {
  WITHDRAW_UPDATE,
  WRITE_UPDATE,
  WRITER_RENEWS,
  WRITER_STATE_QUERY,
} from '../domain/temporal-names.js';
import { problemOf } from './failures.js';
import { activities } from './policies.js';
import { type QueuedDeployment, WriterQueue } from './writer-queue.js';

const writeUpdate = defineUpdate<readonly WrittenDeployment[], [readonly WriterRequest[]]>(WRITE_UPDATE);
const withdrawUpdate = defineUpdate<WrittenDeployment | undefined, [DeploymentKey]>(WITHDRAW_UPDATE);
const stateQuery = defineQuery<WriterState>(WRITER_STATE_QUERY);

/** A larger push takes longer, and is overtaken more often; what it holds stays well below Temporal's limit for a payload. */
const MAX_ROUND = 200;
/** A repository without releases has no writer. */
const IDLE_SECONDS = 300;
/** After a round that failed: twice as long each time, between these. Milliseconds. */
const FIRST_BACK_OFF_MS = 500;
const LAST_BACK_OFF_MS = 30_000;
/** An unexpected error may be a hiccup of the machine; whose change brings it again and again is told so. */
const MAX_UNEXPECTED = 8;

export interface WriterOptions {
  readonly idleSeconds?: number | undefined;
}

export async function writeGitOps(branch: GitOpsBranch, options: WriterOptions = {}): Promise<void> {
  const queue = new WriterQueue();
  let problem: Problem | undefined;
  let failures = 0;
  let renewing = false;

  setHandler(
    writeUpdate,
    async (changes: readonly WriterRequest[]): Promise<readonly WrittenDeployment[]> => {
      const asked = changes.map((change) => queue.ask(change));
      await condition(() => asked.every(({ state }) => state === 'settled'));
      return asked.map(({ written }) => written ?? { withdrawn: true });
    },
    {
      validator: (_: readonly WriterRequest[]) => {
        if (renewing) throw ApplicationFailure.nonRetryable('The writer begins a new run', WRITER_RENEWS);
      },
    },
  );
  setHandler(withdrawUpdate, async (key) => {
    const entry = queue.find(key);
    if (!entry) return undefined;
    await condition(() => entry.state !== 'writing'); // what is being pushed may get through (I6)
    if (entry.state === 'waiting') queue.settle(entry, { withdrawn: true });
    return entry.written;
  });
  setHandler(stateQuery, () => ({
    waiting: queue.count('waiting'),
    writing: queue.count('writing'),
    problem,
  }));

  for (;;) {
    const asked = await condition(
      () => queue.count('waiting') > 0,
      (options.idleSeconds ?? IDLE_SECONDS) * 1000,
    );
    if (!asked && allHandlersFinished()) return;
    const suspicious = problem?.code === 'TL_INTERNAL';
    const round = queue.next(suspicious ? 1 : MAX_ROUND);
    if (round.length > 0) {
      problem = await write(branch, queue, round);
      failures = problem ? failures + 1 : 0;
      setCurrentDetails(detailsOf(queue, round, problem));
      // What was lost with its worker has waited already: another goes on, and finds whatever that one has pushed.
      if (problem && problem.code !== 'TL_WAITED_TOO_LONG') await sleep(backOff(failures));
    }
    renewing = workflowInfo().continueAsNewSuggested;
    if (renewing && queue.count('waiting') === 0) {
      await condition(allHandlersFinished);
      await continueAsNew<typeof writeGitOps>(branch, options);
    }
  }
}

/** Writes a round. Gives the problem, where nothing came of it and it is to be tried again. */
async function write(
  branch: GitOpsBranch,
  queue: WriterQueue,
  round: readonly QueuedDeployment[],
): Promise<Problem | undefined> {
  const names = round.map(({ change }) => `${change.model} of ${change.environment}`).join(', ');
  try {
    const written = await activities('write', `${round.length}: ${names}`).writeDeployments(
      branch,
      round.map(({ change }) => change),
    );
    round.forEach((entry, index) => {
      const one = written[index];
      if (one) queue.settle(entry, one);
      else queue.putBack(entry);
    });
    return undefined;
  } catch (error) {
    const problem = problemOf(error);
    for (const entry of round) {
      if (problem.code === 'TL_INTERNAL') entry.failures += 1;
      if (isFinal(error) || entry.failures >= MAX_UNEXPECTED) queue.settle(entry, { problem });
      else queue.putBack(entry);
    }
    return isFinal(error) ? undefined : problem;
  }
}

/** The activity has said that trying again will not help. */
function isFinal(error: unknown): boolean {
  const cause = error instanceof ActivityFailure ? error.cause : undefined;
  return cause instanceof ApplicationFailure && cause.nonRetryable === true;
}

function backOff(failures: number): number {
  return Math.min(FIRST_BACK_OFF_MS * 2 ** (failures - 1), LAST_BACK_OFF_MS);
}

function detailsOf(
  queue: WriterQueue,
  round: readonly QueuedDeployment[],
  problem: Problem | undefined,
): string {
  const done = round.filter(({ state }) => state === 'settled').length;
  const waiting = queue.count('waiting');
  const last = problem
    ? `Last round: nothing written, ${problem.message} [${problem.code}]`
    : `Last round: ${done} settled`;
  return `${waiting} waiting. ${last}.`;
}
