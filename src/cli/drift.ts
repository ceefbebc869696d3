import { type Command, InvalidArgumentError } from 'commander';
import type { DriftCheck, DriftSummary } from '../domain/drift.js';
import { DRIFT_ID, DRIFT_WORKFLOW } from '../domain/temporal-names.js';
import type { DriftAnswer } from '../lineage/index.js';
import { reachTemporal, temporalClient } from '../temporal/connect.js';
import { type ClientOptions, temporalTarget, withClient } from './options.js';
import { EXIT, print, printJson, say } from './output.js';
import { type StoreOptions, withReader, withStore } from './store.js';

export function driftCommand(program: Command): void {
  const command = withStore(program.command('drift'))
    .description('what of what is committed and runs is not what was released, as of the last look')
    .option('--environment <name>', 'in this environment alone')
    .action((options: StoreOptions & { environment?: string }) =>
      withReader(options, async (reader) => {
        const answer = await reader.drift(options.environment);
        if (options.json) printJson(answer);
        else print(answerText(answer));
        process.exitCode = exitCode(answer.targets);
      }),
    );
  withClient(command.command('check'))
    .description('look now, and wait for what is found')
    .option('--settle <seconds>', 'what is seen is looked at again after this time', seconds, 10)
    .action((_own: unknown, own: Command) => check(own.optsWithGlobals()));
}

async function check(options: ClientOptions & { settle: number; taskQueue?: string }): Promise<void> {
  const temporal = temporalClient(await temporalTarget(options));
  const workflowId = `${DRIFT_ID}-now`;
  try {
    const handle = await reachTemporal(temporal, () =>
      temporal.client.workflow.start(DRIFT_WORKFLOW, {
        workflowId,
        workflowIdConflictPolicy: 'USE_EXISTING',
        taskQueue: options.taskQueue ?? 'throughline',
        args: [{ settle: options.settle }],
        staticSummary: 'compares what runs with what was released, on request',
      }),
    );
    say(
      `looking at everything that is deployed (temporal workflow describe -w ${workflowId}: how far it is)`,
    );
    const found = (await handle.result()) as DriftSummary;
    if (options.json) printJson(found);
    else print([...found.drifted.map(targetText), counts(found.checked, found.drifted.length)].join('\n'));
    process.exitCode = exitCode(found.drifted);
  } finally {
    await temporal.connection.close();
  }
}

const exitCode = (checks: readonly DriftCheck[]) =>
  checks.some(({ drifts }) => drifts.length > 0) ? EXIT.failed : EXIT.ok;

const counts = (checked: number, drifted: number) =>
  `${checked} ${checked === 1 ? 'deployment' : 'deployments'} looked at, ${drifted} not as released`;

function answerText({ checkedAt, targets }: DriftAnswer): string {
  if (checkedAt === null) return 'Nothing has been looked at yet; `throughline drift check` looks now.';
  const drifted = targets.filter(({ drifts }) => drifts.length > 0);
  const blind = targets.filter(({ unchecked }) => unchecked.length > 0);
  return [
    ...drifted.map((target) => `${targetText(target)}\n  since ${target.since}`),
    `${counts(targets.length, drifted.length)}, ${checkedAt}`,
    ...blind.flatMap((target) => unseen(target)),
  ].join('\n');
}

function targetText({ environment, model, manifest, release, drifts }: DriftCheck): string {
  const lines = drifts.map(
    ({ what, where, expected, found }) =>
      `  ✘ ${what}  ${where}\n      found     ${found}\n      released  ${expected}`,
  );
  return [`${model} in ${environment} (${manifest}, ${release ?? 'by hand'})`, ...lines].join('\n');
}

function unseen(target: DriftCheck): string[] {
  return target.unchecked.map((why) => `  ? ${target.model} in ${target.environment}: not ${why}`);
}

function seconds(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 0 || value > 3600)
    throw new InvalidArgumentError('expected whole seconds, 0 to 3600');
  return value;
}
