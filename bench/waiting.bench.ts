// What waiting costs: releases at once whose Jobs run on a node that kwok fakes, through one worker. Prints how soon a
// finished Job is noticed, how many requests it took, how many connections there are, and the worker's memory.
import { type ChildProcess, spawn } from 'node:child_process';
import {
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { MANAGED_BY } from '../src/activities/training/kubernetes/manifest.js';
import { resourcePath } from '../src/kubernetes/api.js';
import { conditionOf, type Job } from '../src/kubernetes/objects.js';
import { SharedWatch } from '../src/kubernetes/shared-watch.js';
import { createLogger } from '../src/telemetry/log.js';
import { type ClusterModel, ClusterWorld } from '../test/support/cluster.js';

const SIZES = (process.env.BENCH_SIZES ?? '10,100,300').split(',').map(Number);
const WORKER = 'system:serviceaccount:throughline:throughline-worker';
const NODE = 'bench-fake';
/** Short pods; all of them wait together before the first one ends. The short run of the tests has shorter ones. */
const RUNS_FOR =
  Math.max(...SIZES) > 10
    ? { durationMilliseconds: 60_000, jitterDurationMilliseconds: 180_000 }
    : { durationMilliseconds: 20_000, jitterDurationMilliseconds: 40_000 };

let cluster: ClusterWorld;
let worker: ChildProcess;
let kwok: ChildProcess;
let directory: string;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'throughline-bench-'));
  cluster = await ClusterWorld.start('bench-waiting');
  worker = await cluster.worker({ THROUGHLINE_POD_START_TIMEOUT: '600', THROUGHLINE_LOG_LEVEL: 'debug' });
  await cluster.api.create('/api/v1/nodes', {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: NODE, annotations: { 'kwok.x-k8s.io/node': 'fake' }, labels: { type: 'kwok' } },
    spec: { taints: [{ key: 'kwok.x-k8s.io/node', value: 'fake', effect: 'NoSchedule' }] },
    status: {
      allocatable: { cpu: '1000', memory: '1Ti', pods: '2000' },
      capacity: { cpu: '1000', memory: '1Ti', pods: '2000' },
    },
  });
  const config = join(directory, 'stages.yaml');
  writeFileSync(
    config,
    stages()
      .map((stage) => stringify(stage))
      .join('---\n'),
  );
  const log = openSync(join(directory, 'kwok.log'), 'a');
  kwok = spawn(
    join(process.env.KWOK_DIRECTORY ?? '', 'kwok'),
    [
      `--kubeconfig=${cluster.state.kubernetes.kubeconfig}`,
      '--manage-all-nodes=false',
      '--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake',
      `--config=${config}`,
    ],
    { stdio: ['ignore', log, log] },
  );
});
afterAll(async () => {
  kwok?.kill();
  await cluster?.api.delete(`/api/v1/nodes/${NODE}`, {}).catch(() => undefined);
  await cluster?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** Pods run for as long as {@link RUNS_FOR} says, and report a model that they pushed themselves; the gate refuses it, so that training is all. */
function stages(): object[] {
  const stage = (name: string, matchExpressions: object[], next: object, delay?: object) => ({
    apiVersion: 'kwok.x-k8s.io/v1alpha1',
    kind: 'Stage',
    metadata: { name },
    spec: {
      resourceRef: { apiGroup: 'v1', kind: 'Pod' },
      selector: { matchExpressions },
      ...(delay ? { delay } : {}),
      next,
    },
  });
  const alive = { key: '.metadata.deletionTimestamp', operator: 'DoesNotExist' };
  const message = JSON.stringify({
    model: { id: 'fake', uri: 'oci://registry.example/fake', digest: `sha256:${'1'.repeat(64)}` },
    metrics: { accuracy: 0 },
  });
  const containers = (of: string, state: string) =>
    `${of === 'containers' ? 'containerStatuses' : 'initContainerStatuses'}:\n{{ range .spec.${of} }}\n- name: {{ .name | Quote }}\n  image: {{ .image | Quote }}\n  restartCount: 0\n  state:\n    ${state}\n{{ end }}\n`;
  const running = 'running: { startedAt: {{ Now | Quote }} }';
  const ended = `terminated: { exitCode: 0, reason: Completed, startedAt: {{ Now | Quote }}, finishedAt: {{ Now | Quote }}, message: ${JSON.stringify(message)} }`;
  return [
    stage('run', [alive, { key: '.status.podIP', operator: 'DoesNotExist' }], {
      statusTemplate: `${containers('containers', running)}${containers('initContainers', running)}phase: Running\npodIP: 10.0.0.1\nstartTime: {{ Now | Quote }}\n`,
    }),
    stage(
      'complete',
      [alive, { key: '.status.phase', operator: 'In', values: ['Running'] }],
      {
        statusTemplate: `${containers('containers', ended)}${containers('initContainers', 'terminated: { exitCode: 0, finishedAt: {{ Now | Quote }} }')}phase: Succeeded\n`,
      },
      RUNS_FOR,
    ),
    stage('delete', [{ key: '.metadata.deletionTimestamp', operator: 'Exists' }], { delete: true }),
  ];
}

/** Requests of the worker since a place in the audit log: verb → number. */
function requestsSince(offset: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const line of readFileSync(join(cluster.state.logs, 'audit.log'), 'utf8')
    .slice(offset)
    .split('\n')
    .filter(Boolean)) {
    const { user, verb, stage } = JSON.parse(line) as {
      user: { username: string };
      verb: string;
      stage: string;
    };
    if (user.username !== WORKER || (verb === 'watch') !== (stage === 'ResponseStarted')) continue;
    counts[verb] = (counts[verb] ?? 0) + 1;
  }
  return counts;
}

const auditLength = () => statSync(join(cluster.state.logs, 'audit.log')).size;

/** Established connections of the worker to the API server. */
function connections(pid: number): number {
  const sockets = new Set(
    readdirSync(`/proc/${pid}/fd`).map((fd) => {
      try {
        return /socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      } catch {
        return undefined;
      }
    }),
  );
  const [, port = ''] =
    /:(\d+)\s*$/m.exec(
      readFileSync(cluster.state.kubernetes.kubeconfig, 'utf8').match(/server: \S+/)?.[0] ?? '',
    ) ?? [];
  const remote = Number(port).toString(16).toUpperCase().padStart(4, '0');
  return readFileSync(`/proc/${pid}/net/tcp`, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields[2]?.endsWith(`:${remote}`) && fields[3] === '01' && sockets.has(fields[9]))
    .length;
}

const memory = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024;

/** When the worker had the result of each Job, by its own log. */
function resultsOf(directory: string): Map<string, number> {
  const lines = readdirSync(directory)
    .filter((name) => /^worker-.*\.log$/.test(name))
    .flatMap((name) => readFileSync(join(directory, name), 'utf8').split('\n'))
    .filter((line) => line.includes('activity ended'));
  const entries = lines.map((line) => JSON.parse(line) as Record<'activity' | 'release' | 'time', string>);
  return new Map(
    entries
      .filter(({ activity }) => activity === 'train')
      .map(({ release, time }) => [release, Date.parse(time)]),
  );
}

/** As Spinnaker does it: again, with the same key, where Temporal is not there to answer. */
async function triggered(model: ClusterModel, idempotencyKey: string): Promise<string> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await cluster.trigger(model, { idempotencyKey });
    } catch (error) {
      if (attempt === 10 || !String(error).includes('TL_TEMPORAL_UNAVAILABLE')) throw error;
      await sleep(2_000);
    }
  }
}

it.each(SIZES)('%i at once', { timeout: 900_000 }, async (size) => {
  const pid = worker.pid ?? 0;
  const model = await cluster.model({
    undeployed: true,
    job: (job) => {
      const copy = structuredClone(job) as { spec: { template: { spec: Record<string, unknown> } } };
      copy.spec.template.spec.nodeSelector = { type: 'kwok' };
      copy.spec.template.spec.tolerations = [{ operator: 'Exists' }];
      return copy as unknown as Record<string, unknown>;
    },
  });
  const finished = new Map<string, number>();
  const watch = new SharedWatch<Job>(
    cluster.api,
    {
      path: resourcePath('batch/v1', cluster.state.namespaces.training, 'jobs'),
      labelSelector: Object.entries(MANAGED_BY)
        .map((pair) => pair.join('='))
        .join(','),
      keyOf: (object) => {
        const done = conditionOf((object as Job).status?.conditions, 'Complete');
        const release = object.metadata.labels?.['throughline.dev/release'] ?? '';
        if (done && !finished.has(release)) finished.set(release, Date.now());
        return object.metadata.name;
      },
    },
    createLogger('bench', 'silent'),
  );
  await watch.synced(AbortSignal.timeout(10_000));
  const offset = auditLength();
  const releases: string[] = [];
  while (releases.length < size) {
    // A few at a time: the development server's database takes one writer.
    const some = Array.from({ length: Math.min(20, size - releases.length) }, (_, index) =>
      triggered(model, `${model.name}-${releases.length + index}`),
    );
    releases.push(...(await Promise.all(some)));
  }
  let most = 0;
  let links = 0;
  const watching = setInterval(() => {
    most = Math.max(most, memory(pid));
    links = Math.max(links, connections(pid));
  }, 500);
  const noticed: number[] = [];
  for (const release of releases) {
    const record = await cluster.ended(release, 500);
    expect(record.status).toBe('REJECTED');
  }
  clearInterval(watching);
  watch.stop();
  const results = resultsOf(cluster.world.directory);
  for (const release of releases) {
    noticed.push(Math.max(0, (results.get(release) ?? Number.NaN) - (finished.get(release) ?? 0)));
  }
  await sleep(1_000);
  const { watch: watched = 0, list = 0, ...others } = requestsSince(offset);
  const requests = Object.values(others).reduce((sum, count) => sum + count, 0);
  noticed.sort((a, b) => a - b);
  const within = noticed.filter((milliseconds) => milliseconds <= 1000).length / noticed.length;
  process.stdout.write(
    [
      `\nwaiting: ${size} releases at once`,
      `  noticed within 1 s     ${(within * 100).toFixed(1)} % (median ${noticed[Math.floor(size / 2)]?.toFixed(0)} ms, 95 % ${noticed[Math.floor(size * 0.95)]?.toFixed(0)} ms)`,
      `  requests per Job       ${(requests / size).toFixed(2)} (${Object.entries(others)
        .map(([verb, count]) => `${verb} ${count}`)
        .join(', ')}; list ${list}, watch ${watched})`,
      `  connections            ${links} to the API server, one of them for all watches`,
      `  memory of the worker   ${most.toFixed(0)} MiB at most\n`,
    ].join('\n'),
  );
});
