// Compares what is committed, what runs and what is attested with what was released. A schedule starts it.
import { setCurrentDetails, sleep, upsertMemo } from '@temporalio/workflow';
import {
  type DriftCheck,
  type DriftSummary,
  type ExpectedState,
  seenTwice,
  targetKey,
} from '../domain/drift.js';
import { DRIFT_MEMO } from '../domain/temporal-names.js';
import { activities, lineageActivities } from './policies.js';

/** Targets an activity looks at; so many activities at once, which is gentle to git servers and registries. */
const BATCH = 20;
const AT_ONCE = 4;

export interface DriftOptions {
  /** Seconds between the two looks that something has to be seen in. */
  readonly settle: number;
}

export async function checkDrift({ settle }: DriftOptions): Promise<DriftSummary> {
  let checks = await look(await expected());
  const suspects = new Map(checks.filter(drifted).map((check) => [targetKey(check), check]));
  if (suspects.size > 0) {
    await sleep(`${settle}s`);
    // By now the lineage may know why: a release that was rolled out, a commit by hand.
    const again = await look((await expected()).filter((state) => suspects.has(targetKey(state))));
    const second = new Map(again.map((check) => [targetKey(check), check]));
    checks = checks.flatMap((check) => confirmed(check, suspects, second));
  }
  await lineageActivities('check', 'keep what was found').recordDrift(checks, new Date().toISOString());
  const found = checks.filter(drifted);
  upsertMemo({ [DRIFT_MEMO]: found.length });
  setCurrentDetails(describe(checks.length, found));
  return { checked: checks.length, drifted: found };
}

const drifted = ({ drifts }: DriftCheck) => drifts.length > 0;

/** A target that is no longer there is left out. */
function confirmed(
  check: DriftCheck,
  suspects: ReadonlyMap<string, DriftCheck>,
  second: ReadonlyMap<string, DriftCheck>,
): DriftCheck[] {
  const key = targetKey(check);
  if (!suspects.has(key)) return [check];
  const again = second.get(key);
  return again ? [{ ...again, drifts: seenTwice(check.drifts, again.drifts) }] : [];
}

const expected = () => lineageActivities('check', 'what should run').expectedStates();

async function look(states: readonly ExpectedState[]): Promise<DriftCheck[]> {
  const checks: DriftCheck[] = [];
  for (let from = 0; from < states.length; from += BATCH * AT_ONCE) {
    const batches: Promise<readonly DriftCheck[]>[] = [];
    for (let at = from; at < Math.min(states.length, from + BATCH * AT_ONCE); at += BATCH) {
      const some = states.slice(at, Math.min(at + BATCH, from + BATCH * AT_ONCE));
      batches.push(activities('check', `look at ${some.length} targets`).checkTargets(some));
    }
    checks.push(...(await Promise.all(batches)).flat());
  }
  return checks;
}

function describe(checked: number, found: readonly DriftCheck[]): string {
  const lines = found.flatMap(({ environment, model, manifest, drifts }) => [
    `- **${model}** in ${environment} (${manifest})`,
    ...drifts.map(
      ({ what, where, expected: should, found: is }) => `  - ${what}, ${where}: ${is}; released: ${should}`,
    ),
  ]);
  return [`${checked} targets looked at, ${found.length} not as released`, '', ...lines].join('\n');
}
