// The whole main job, on this machine or on the local cluster, for real: a commit becomes a served model, and a prediction is followed back to it.
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Command, InvalidArgumentError, Option } from 'commander';
import { describeStage, metricsText } from '../cli/describe.js';
import { EXIT, exitCodeOf, printError, printJson, say } from '../cli/output.js';
import { formatProblem } from '../domain/errors.js';
import type { ReleaseRecord } from '../domain/release.js';
import type { PresentedRelease } from '../gateway/present.js';
import { formatDuration } from '../plan/index.js';
import { clusterWorld, readClusterState } from './cluster-world.js';
import { localWorld } from './local-world.js';
import { CLI, RestartingWorker, type StartedDev, startDevProcess } from './processes.js';
import { commitCount, type DemoRepositories } from './repositories.js';
import type { SeenSpan, Served, World } from './world.js';

const run = promisify(execFile);
const PREDICTIONS = 100;
const TRAINING = fileURLToPath(new URL('../../examples/digits/training/', import.meta.url));

interface DemoOptions {
  readonly json?: boolean;
  readonly accuracy?: number;
  readonly keep?: boolean;
  readonly killWorker?: boolean;
  /** The state file of the local cluster; scripts/demo.mjs makes it of `--cluster`. */
  readonly clusterState?: string;
  /** Ports of gateway, Temporal and its UI that are reached from outside of the cluster's network. */
  readonly ports?: readonly number[];
}

/** The line that `--json` prints. */
interface DemoResult {
  readonly release: string;
  readonly workflowId: string;
  readonly status: string;
  readonly traceId: string;
  readonly commit: string | null;
  readonly dataset: string | null;
  readonly modelId: string | null;
  readonly modelDigest: string | null;
  readonly accuracy: number | string | null;
  readonly imageDigest: string | null;
  readonly gitopsCommit: string | null;
  readonly predictions: { readonly sent: number; readonly right: number };
  readonly prediction: Prediction | null;
  /** With --cluster: job, pods, application. */
  readonly [further: string]: unknown;
}

interface Prediction {
  readonly traceId: string;
  readonly linkedTraceId: string;
  readonly linkedSpanId: string;
  readonly modelId: string;
}

interface Digit {
  readonly image_data: string;
  readonly label: number;
}

async function demo(options: DemoOptions): Promise<number> {
  const begun = Date.now();
  const directory = await mkdtemp(join(tmpdir(), 'throughline-demo-'));
  const undo: (() => unknown)[] = [];
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const)
      process.once(signal, () => reject(new Error(`stopped by ${signal}`)));
  });
  interrupted.catch(() => undefined);
  let keep = false;
  try {
    const code = await Promise.race([steps(options, directory, undo, begun), interrupted]);
    keep = options.keep ?? false;
    return code;
  } finally {
    if (!keep) {
      say('stopping what the demo started');
      for (let next = undo.pop(); next; next = undo.pop()) await next();
      await rm(directory, { recursive: true, force: true });
    }
  }
}

async function steps(
  options: DemoOptions,
  directory: string,
  undo: (() => unknown)[],
  begun: number,
): Promise<number> {
  const data = join(directory, 'data');
  heading('a model repository and a GitOps remote, out of examples/digits');
  const world = await makeWorld(options, directory, data, undo);
  const { repositories } = world;
  say(`  ${repositories.modelUrl}\n  ${repositories.gitopsUrl}`);

  heading('throughline dev: Temporal, the gateway and a worker');
  const env = demoEnvironment(data, world.env);
  const dev = await startDevProcess(
    ['--data', data, ...world.arguments, ...(options.killWorker ? ['--no-worker'] : [])],
    env,
    join(directory, 'dev.log'),
    say,
  );
  undo.push(() => dev.stop());
  say(`  gateway ${dev.gateway}, Temporal ${dev.temporal}, UI ${dev.ui}`);
  const worker = options.killWorker
    ? new RestartingWorker(dev.temporal, env, join(directory, 'worker.log'))
    : undefined;
  if (worker) {
    await worker.start();
    undo.push(() => worker.stop());
  }

  heading('a trigger, as a Spinnaker webhook stage sends it');
  const record = await releaseAndWatch(dev, repositories, worker);
  const result = { ...describeResult(record), ...world.facts(record) };
  if (record.status !== 'SUCCEEDED') {
    if (options.keep) say(describeKept(dev, undefined, world, data));
    return await explainEnd(record, result, repositories, options);
  }

  heading('the inference service, as the committed Deployment says');
  const served = await world.serve(record);
  undo.push(() => served.stop());
  say(`  ${served.description}\n${served.urls.map((url) => `  ${url}/predict`).join('\n')}`);

  heading(`${PREDICTIONS} digits that the model has never seen`);
  const digits = await heldOutDigits(TRAINING);
  const { right, prediction } = await predictAll(served, digits);
  say(`  ${right} of ${digits.length} right`);

  heading('one prediction, followed back');
  const span = await waitFor(
    async () => (await world.trace(prediction)).find(({ links }) => links.length > 0),
    'the prediction’s span',
  );
  await waitFor(
    async () => (await world.trace(record.traceId)).find(({ name }) => name.startsWith('RUN ')),
    'the release’s span',
  );
  const spans = await world.trace(record.traceId);
  const link = span.links[0];
  const final: DemoResult = {
    ...result,
    predictions: { sent: digits.length, right },
    prediction: {
      traceId: prediction,
      linkedTraceId: link?.traceId ?? '',
      linkedSpanId: link?.spanId ?? '',
      modelId: String(span.attributes['ml.model.id']),
    },
  };
  say(chain(record, span, spans, dev, world));

  heading('the release’s trace, computed from its history in Temporal');
  const tree = await run(process.execPath, [CLI, 'trace', record.release, '--data', data]);
  say(indented(tree.stdout));

  heading(`throughline lineage ${prediction}`);
  await waitFor(async () => {
    const found = await fetch(`${dev.gateway}/v1/lineage/trace:${record.traceId}`);
    const { releases = [] } = (await found.json()) as { releases?: { status: string }[] };
    return releases[0]?.status === 'SUCCEEDED' || undefined;
  }, 'the release’s lineage');
  const lineage = await run(process.execPath, [CLI, 'lineage', prediction, '--data', data]);
  say(indented(lineage.stdout));
  const linked = link?.traceId === record.traceId && link?.spanId === record.traceparent.split('-')[2];
  const failures = [
    ...(linked ? [] : ['the prediction does not link to the release']),
    ...(right >= PREDICTIONS * 0.95 ? [] : [`only ${right} of ${PREDICTIONS} predictions are right`]),
  ];
  for (const failure of failures) say(`✘ ${failure}`);
  say(`\ndone in ${formatDuration((Date.now() - begun) / 1000)}`);
  if (options.keep) say(describeKept(dev, served, world, data));
  if (options.json) printJson(final);
  return failures.length > 0 ? EXIT.failed : EXIT.ok;
}

async function makeWorld(
  { accuracy, clusterState, ports }: DemoOptions,
  directory: string,
  data: string,
  undo: (() => unknown)[],
): Promise<World> {
  if (clusterState === undefined) return localWorld(directory, data, accuracy);
  const [gateway = 0, temporal = 0, ui = 0] = ports ?? [];
  const state = await readClusterState(clusterState);
  return clusterWorld({ state, accuracy, ports: { gateway, temporal, ui }, undo });
}

function demoEnvironment(data: string, world: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  // The demo is a world of its own: a Temporal, a collector or a data directory of the user's is left alone.
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(?:TEMPORAL_|OTEL_|TRACEPARENT$|TRACESTATE$|BAGGAGE$|THROUGHLINE_.*_URL$)/.test(name),
  );
  return {
    ...Object.fromEntries(own),
    THROUGHLINE_DATA: data,
    THROUGHLINE_HEARTBEAT_TIMEOUT: '3',
    ...world,
  };
}

async function releaseAndWatch(
  dev: StartedDev,
  { modelUrl }: DemoRepositories,
  worker: RestartingWorker | undefined,
): Promise<PresentedRelease> {
  const response = await fetch(`${dev.gateway}/v1/releases`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      repository: modelUrl,
      ref: 'main',
      execution: { id: randomUUID(), application: 'digits', name: 'release digits' },
      stage: { id: randomUUID(), refId: '1' },
      trigger: { type: 'git', user: 'demo', branch: 'main' },
    }),
  });
  const body = (await response.json()) as {
    id: string;
    statusUrl: string;
    traceId: string;
    error?: Parameters<typeof formatProblem>[0];
  };
  if (body.error) throw new Error(formatProblem(body.error));
  say(`  ${response.status} ${body.id}\n  trace ${body.traceId}`);
  const killed = new Set<string>();
  const ended = new Set<string>();
  let doing = '';
  for (;;) {
    await sleep(100);
    const record = (await (await fetch(body.statusUrl)).json()) as PresentedRelease;
    for (const stage of record.stages) {
      if (stage.endedAt && !ended.has(stage.name)) {
        ended.add(stage.name);
        say(`  ${describeStage(stage)}`);
      }
    }
    if (record.outcome) return record;
    const stage = record.stages.findLast(({ status }) => status === 'RUNNING');
    const progress = record.progress.replace(/\s+/g, ' ').slice(0, 110);
    if (progress !== doing && !/: starting$|^plan/.test(progress)) say(`    ${progress}`);
    doing = progress;
    const middle =
      stage?.name === 'train'
        ? /training(?:, process| in pod)/.test(record.progress)
        : stage?.name === 'build';
    if (worker && stage && middle && !killed.has(stage.name)) {
      killed.add(stage.name);
      say(`  ✂ killing the worker in the middle of ${stage.name} (SIGKILL)`);
      worker.kill();
    }
  }
}

function describeResult(record: ReleaseRecord): DemoResult {
  return {
    release: record.release,
    workflowId: record.release,
    status: record.status,
    traceId: record.traceId,
    commit: record.commit ?? null,
    dataset: record.dataset ? `${record.dataset.name}@${record.dataset.version}` : null,
    modelId: record.training?.id ?? null,
    modelDigest: record.training?.digest ?? null,
    accuracy: record.training?.metrics.accuracy ?? null,
    imageDigest: record.image?.digest ?? null,
    gitopsCommit: record.deployments[0]?.commit ?? null,
    predictions: { sent: 0, right: 0 },
    prediction: null,
  };
}

/** A release that ended before it was deployed: why, and that nothing was left half-done. */
async function explainEnd(
  record: ReleaseRecord,
  result: DemoResult,
  { gitops }: DemoRepositories,
  { json }: DemoOptions,
): Promise<number> {
  const commits = (await commitCount(gitops)) - 1;
  const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
  say(`\n${record.status}${problem ? `: ${formatProblem(problem)}` : ''}`);
  say(`\nimage: ${record.image?.reference ?? 'none was built'}`);
  say(`GitOps commits: ${commits === 0 ? 'none was made' : commits}`);
  if (json) printJson(result);
  return exitCodeOf(record.status) || EXIT.failed;
}

async function heldOutDigits(directory: string): Promise<Digit[]> {
  const { stdout } = await run('python', ['holdout.py', '--count', String(PREDICTIONS)], {
    cwd: directory,
    maxBuffer: 16 * 1024 * 1024,
  });
  return JSON.parse(stdout) as Digit[];
}

async function predictAll(
  { urls }: Served,
  digits: readonly Digit[],
): Promise<{ right: number; prediction: string }> {
  let right = 0;
  let prediction = '';
  for (const [index, { image_data, label }] of digits.entries()) {
    const response = await fetch(`${urls[index % urls.length]}/predict`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ image_data }),
    });
    const answer = (await response.json()) as { class: number; trace_id: string };
    if (answer.class === label) right += 1;
    prediction = answer.trace_id;
  }
  return { right, prediction };
}

async function waitFor<T>(look: () => Promise<T | undefined>, what: string): Promise<T> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`${what} did not arrive`);
    await sleep(100);
  }
}

function chain(
  record: PresentedRelease,
  span: SeenSpan,
  spans: readonly SeenSpan[],
  dev: StartedDev,
  world: World,
): string {
  const link = span.links[0];
  const training = spans.find(({ name }) => name === 'keras-training-run');
  const epochs = training?.events ?? 0;
  const rows: (readonly [string, string])[] = [
    [
      'prediction',
      `trace ${span.traceId}: class ${span.attributes['ml.prediction.class']}, model ${span.attributes['ml.model.id']}`,
    ],
    ['  link', `trace ${link?.traceId}, span ${link?.spanId}`],
    ['release', `${record.release} (RUN ${record.model})`],
    ['commit', `${record.commit}`],
    ['dataset', `${record.dataset?.name}@${record.dataset?.version} ${record.dataset?.digest ?? ''}`],
    ['training run', `${record.training?.job}: ${epochs} epochs, ${metricsText(record)}`],
    ['model', `${record.training?.id} ${record.training?.digest}`],
    ['image', `${record.image?.digest}`],
    ['GitOps commit', `${record.deployments[0]?.commit}`],
    ...world.chain(record),
    ['trace', `${spans.length} spans from ${[...new Set(spans.map(({ service }) => service))].join(', ')}`],
    ['look into it', `${dev.ui}/namespaces/default/workflows/${record.release}`],
  ];
  return rows.map(([name, value]) => `  ${name.padEnd(14)} ${value}`).join('\n');
}

function describeKept(dev: StartedDev, served: Served | undefined, world: World, data: string): string {
  const { lines, end } = world.kept();
  const processes = [dev.pid, ...(served?.pids ?? [])].join(' ');
  return [
    '',
    'still running:',
    `  gateway      ${dev.gateway}/v1/releases`,
    `  Temporal     temporal workflow list --address ${dev.temporal} --query 'ModelName = "digits"'`,
    `  UI           ${dev.ui}`,
    ...(served?.urls ?? []).map((url) => `  predictions  ${url}/predict`),
    `  releases     node bin/throughline.js list --data ${data}`,
    ...lines.map((line) => `  ${line}`),
    `to end it:     ${[`kill ${processes}`, ...end].join('; ')}`,
  ].join('\n');
}

const indented = (text: string) => text.trimEnd().replaceAll(/^(?=.)/gm, '  ');

function heading(text: string): void {
  say(`\n▸ ${text}`);
}

function accuracy(text: string): number {
  const value = Number(text);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('expected a number');
  return value;
}

function portList(text: string, before: readonly number[] = []): number[] {
  return [...before, ...text.split(',').map(Number)];
}

const program = new Command('npm run demo --')
  .description('Release the digits example, from commit to served prediction.')
  .option('--json', 'end with one line of JSON on standard output')
  .option('--accuracy <number>', 'the gate of the plan', accuracy)
  .option('--keep', 'leave everything running, and say where to look')
  .option('--kill-worker', 'kill the worker in the middle of training and of the build')
  .option('--cluster', 'on the local cluster: real Kubernetes Jobs, BuildKit and Argo CD (npm run cluster)')
  .addOption(new Option('--cluster-state <file>', 'set by npm run demo').hideHelp())
  .addOption(new Option('--ports <ports...>', 'set by npm run demo').argParser(portList).hideHelp())
  .option('--no-install', 'install no system package; name what is missing instead');

program.parse();
const options = program.opts<DemoOptions>();
try {
  process.exitCode = await demo(options);
} catch (error) {
  process.exitCode = printError(error, options.json ?? false);
}
process.exit();
