// What a release costs on top of what it does: the same release by Throughline and by the bash stages that it replaces
// (glue.sh), one after the other and in turns, on the local cluster, with a training that takes no time.
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { kubernetesJob } from '../src/activities/training/kubernetes/manifest.js';
import type { TrainingJob } from '../src/activities/training/runner.js';
import { clusterEnvironment } from '../src/demo/cluster-world.js';
import { parseJobManifest } from '../src/plan/index.js';
import { type ClusterModel, ClusterWorld } from '../test/support/cluster.js';
import { git } from '../test/support/world.js';

const run = promisify(execFile);
const GLUE = fileURLToPath(new URL('glue.sh', import.meta.url));
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 10);

type Stages = Record<string, number>;

let cluster: ClusterWorld;
let model: ClusterModel;
beforeAll(async () => {
  cluster = await ClusterWorld.start('bench-overhead');
  await cluster.worker();
  model = await cluster.model({ seconds: 0 });
});
afterAll(() => cluster?.stop());

/** Seconds of each stage, and of the whole as a caller sees it. */
async function byThroughline(round: number): Promise<Stages> {
  const begun = Date.now();
  const release = await cluster.trigger(model, { idempotencyKey: `${model.name}-${round}` });
  const record = await cluster.ended(release);
  expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
  const total = (Date.now() - begun) / 1000;
  const seconds = (from?: string, to?: string) => (Date.parse(to ?? '') - Date.parse(from ?? '')) / 1000;
  const stages = Object.fromEntries(
    record.stages.map(({ name, startedAt, endedAt }) => [name, seconds(startedAt, endedAt)]),
  );
  const { 'deploy production': whole = 0, ...others } = stages;
  return { ...others, 'push and deploy': whole, total };
}

async function byGlue(directory: string, round: number): Promise<Stages> {
  const { state } = cluster;
  const name = `glue-${randomBytes(4).toString('hex')}`;
  const manifest = git(join(dirname(model.gitops), `${model.name}.git`), 'show', 'main:training/job.yaml');
  const job = {
    name: `${state.namespaces.training}/${name}`,
    release: `rel-${randomBytes(16).toString('hex').slice(0, 20)}`, // what is trained differs, as it does in ours
    model: model.name,
    repository: model.url,
    commit: 'c'.repeat(40),
    manifest: parseJobManifest(manifest, 'job.yaml'),
    modelRepository: `${state.registry.address}/test/${model.name}-model`,
    context: '.',
    dataset: { name: 'numbers', version: 'v1' },
    parameters: {},
    timeout: 300,
    trace: { traceparent: `00-${randomBytes(16).toString('hex')}-${randomBytes(8).toString('hex')}-01` },
  } as unknown as TrainingJob;
  const handover = {
    image: state.oci.image,
    repository: job.modelRepository ?? '',
    secret: 'registry',
    certificates: 'registry-ca',
    seconds: 10,
  };
  // The very same pod; only that nobody keeps it.
  const text = JSON.stringify(kubernetesJob(job, { handover, workloadTelemetry: {} })).replaceAll(
    '["throughline.dev/result"]',
    '[]',
  );
  const file = join(directory, `job-${round}.json`);
  writeFileSync(file, text);
  const own = clusterEnvironment(state);
  const begun = Date.now();
  const { stdout } = await run('bash', [GLUE], {
    env: {
      ...process.env,
      ...own,
      PATH: `${dirname(state.kubectl)}:${process.env.YQ_DIRECTORY}:${own.PATH}`,
      KUBECONFIG: state.kubernetes.kubeconfig,
      JOB_FILE: file,
      JOB: name,
      TRAINING: state.namespaces.training,
      SERVING: state.namespaces.serving,
      ARGOCD: state.namespaces.argocd,
      APPLICATION: model.name,
      MODEL_URL: model.url,
      GITOPS_URL: model.gitopsUrl,
      IMAGE: `${state.registry.address}/test/${model.name}`,
      BASE_IMAGE: cluster.image,
      BUILDKIT_ADDRESS: state.buildkit.address,
      BUILDKIT_CERT: state.buildkit.certificate,
      BUILDKIT_KEY: state.buildkit.key,
      CA: state.certificateAuthority,
      TRACEPARENT: job.trace.traceparent,
    },
  });
  const total = (Date.now() - begun) / 1000;
  const stages = Object.fromEntries(
    [...stdout.matchAll(/^stage (\S+) (\d+)$/gm)].map(([, stage, milliseconds]) => [
      stage,
      Number(milliseconds) / 1000,
    ]),
  ) as Stages;
  const { push = 0, deploy = 0, ...others } = stages;
  return { ...others, 'push and deploy': push + deploy, total };
}

/**
 * Kubelet looks at its containers once a second: the same Job takes up to a second more or less, depending on when it
 * begins. A release ends at a fixed time after such a look, and so whatever follows it would always begin at the same
 * point. The rounds of both are therefore spread over the second.
 */
const spread = (round: number) => sleep((round / ROUNDS) * 1000);

it('takes about as long as the glue', { timeout: 900_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'throughline-bench-'));
  const ours: Stages[] = [];
  const theirs: Stages[] = [];
  try {
    await byThroughline(-1); // images are pulled, caches are warm: for both
    await byGlue(directory, -1);
    for (let round = 0; round < ROUNDS; round += 1) {
      await spread(round);
      ours.push(await byThroughline(round));
      await spread(round);
      theirs.push(await byGlue(directory, round));
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  const mean = (of: Stages[], stage: string) =>
    of.reduce((sum, one) => sum + (one[stage] ?? 0), 0) / of.length;
  const stages = ['plan', 'train', 'evaluate', 'build', 'push and deploy', 'total'];
  const rows = stages.map((stage) => {
    const [a, b] = [mean(ours, stage), mean(theirs, stage)];
    return `${stage.padEnd(18)} ${a.toFixed(2).padStart(8)} ${b.toFixed(2).padStart(8)} ${(a - b).toFixed(2).padStart(8)} ${b > 0 ? (a / b).toFixed(2).padStart(8) : ''.padStart(8)}`;
  });
  process.stdout.write(
    `\noverhead: means of ${ROUNDS} rounds in turns, seconds\n${''.padEnd(18)} ${'ours'.padStart(8)} ${'glue'.padStart(8)} ${'more'.padStart(8)} ${'ratio'.padStart(8)}\n${rows.join('\n')}\n`,
  );
});
