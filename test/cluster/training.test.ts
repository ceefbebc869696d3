// What can happen to a training Job on a cluster, done to a real one: DESIGN §7, I2, I6.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { resourcePath } from '../../src/kubernetes/api.js';
import type { KubernetesObject, Pod } from '../../src/kubernetes/objects.js';
import { type ClusterModel, ClusterWorld, contextOf } from '../support/cluster.js';

let cluster: ClusterWorld;
let training: string;

beforeAll(async () => {
  cluster = await ClusterWorld.start('cluster-training');
  training = cluster.state.namespaces.training;
});
afterAll(() => cluster?.stop());

/** One Job, one commit, one trace id, and the same parent context in every pod that was seen. */
async function expectWhole(
  model: ClusterModel,
  record: PresentedRelease,
  pods: readonly Pod[],
): Promise<void> {
  expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
  expect(await cluster.jobs(record.release)).toHaveLength(1);
  expect(cluster.commits(model, record.release)).toHaveLength(1);
  const contexts = new Set(pods.map((pod) => contextOf(pod)));
  expect(contexts.size).toBe(1);
  expect([...contexts][0]?.split('-')[1]).toBe(record.traceId);
}

describe('with a worker', () => {
  let worker: Awaited<ReturnType<ClusterWorld['worker']>>;
  beforeAll(async () => {
    worker = await cluster.worker();
  });
  afterAll(() => cluster.world.kill(worker));

  it('a pod deleted in the middle is replaced, with the same context', async () => {
    const model = await cluster.model({ seconds: 4 });
    const release = await cluster.trigger(model);
    const first = await cluster.trainingPod(release);
    await cluster.remove('v1', training, 'pods', first.metadata.name);
    const second = await cluster.trainingPod(release, [first.metadata.name]);
    const record = await cluster.ended(release);
    await expectWhole(model, record, [first, second]);
    expect(record.training?.pods?.map(({ name }) => name)).toEqual([
      first.metadata.name,
      second.metadata.name,
    ]);
    expect(record.training?.pods?.at(-1)?.end).toBe('succeeded');
  });

  it('a pod evicted through the eviction API is replaced, and does not count as a failure', async () => {
    // A program that fails may not be tried again here; one that was evicted must be.
    const model = await cluster.model({
      seconds: 4,
      job: (job) => ({ ...job, spec: { ...(job.spec as object), backoffLimit: 0 } }),
    });
    const release = await cluster.trigger(model);
    const first = await cluster.trainingPod(release);
    const { name } = first.metadata;
    await cluster.evict(first);
    const second = await cluster.trainingPod(release, [name]);
    const record = await cluster.ended(release);
    await expectWhole(model, record, [first, second]);
    expect(record.training?.pods?.[0]?.end).toBe('evicted');
  });

  it('an API server that is away for 30 s is waited for', { timeout: 480_000 }, async () => {
    const model = await cluster.model({ seconds: 6 });
    const release = await cluster.trigger(model);
    const pod = await cluster.trainingPod(release);
    const start = cluster.kill('kube-apiserver');
    await cluster.eventually('the wait in the status', async () =>
      /waiting for the Kubernetes API/.test((await cluster.world.get(release)).progress),
    );
    await sleep(30_000);
    start();
    // Kubernetes' own Job controller backs off meanwhile, twice as long each time, and is then waited for too.
    await expectWhole(model, await cluster.ended(release, 400), [pod]);
  });

  it('a Job of the same name that is not ours is not touched', async () => {
    const model = await cluster.model({ seconds: 60 });
    const release = await cluster.trigger(model);
    const [ours] = await cluster.eventually('the Job', async () => {
      const jobs = await cluster.jobs(release);
      return jobs.length > 0 && jobs;
    });
    const name = ours?.metadata.name ?? '';
    // The name is a function of the release: with the same key on another Temporal it would be the same again.
    await cluster.world.client.client.workflow.getHandle(release).terminate('to take its name');
    await removeForGood('batch/v1', 'jobs', name);
    await cluster.create('batch/v1', training, 'jobs', {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { name, labels: { 'app.kubernetes.io/managed-by': 'throughline' } },
      spec: {
        suspend: true,
        template: {
          spec: {
            restartPolicy: 'Never',
            containers: [{ name: 'other', image: cluster.image, command: ['true'] }],
          },
        },
      },
    });
    const handle = cluster.world.client.client.workflow.getHandle(release);
    const description = await handle.describe();
    const { input } = await firstEvent(release);
    await cluster.world.client.client.workflow.start('release', {
      taskQueue: description.taskQueue,
      workflowId: release,
      args: input,
      workflowIdReusePolicy: 'ALLOW_DUPLICATE',
    });
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_JOB_FOREIGN' } });
    const foreign = await cluster.api.get<KubernetesObject>(resourcePath('batch/v1', training, 'jobs', name));
    expect(foreign.metadata.deletionTimestamp).toBeUndefined();
  });

  it('a tag that the registry does not have fails before a Job is made', async () => {
    const model = await cluster.model({ image: `${cluster.state.registry.address}/test/none:1` });
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_IMAGE_NOT_FOUND' } });
    expect(await cluster.jobs(release)).toHaveLength(0);
  });

  it('an image that cannot be pulled fails after its deadline, with the reason', async () => {
    const model = await cluster.model({
      image: `${cluster.state.registry.address}/test/none:1@sha256:${'0'.repeat(64)}`,
    });
    const release = await cluster.trigger(model);
    await cluster.eventually('the reason in the status', async () =>
      /cannot pull .*none:1/.test((await cluster.world.get(release)).progress),
    );
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_POD_UNSTARTABLE' } });
    expect(JSON.stringify(record.outcome)).toContain('cannot pull');
    await expectNothingRuns(release);
  });

  it('a pod that no node can take fails after its deadline, with what is lacking', async () => {
    const model = await cluster.model({
      job: (job) => withContainer(job, { resources: { limits: { 'nvidia.com/gpu': 1 } } }),
    });
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_POD_UNSTARTABLE' } });
    expect(JSON.stringify(record.outcome)).toContain('insufficient nvidia.com/gpu');
    await expectNothingRuns(release);
  });

  it('a quota without room is named', async () => {
    const quota = {
      apiVersion: 'v1',
      kind: 'ResourceQuota',
      metadata: { name: 'test-none' },
      spec: { hard: { pods: '0' } },
    };
    await cluster.create('v1', training, 'resourcequotas', quota);
    const model = await cluster.model();
    await cluster.eventually('the quota is counted', async () => {
      const found = await cluster.api.get<{ status?: { hard?: object } }>(
        resourcePath('v1', training, 'resourcequotas', 'test-none'),
      );
      return found.status?.hard;
    });
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    await cluster.remove('v1', training, 'resourcequotas', 'test-none');
    expect(record.status).toBe('FAILED');
    expect(JSON.stringify(record.outcome)).toContain('exceeded quota');
    await expectNothingRuns(release);
  });

  it('a manifest that Kubernetes refuses is refused before anything runs', async () => {
    const model = await cluster.model({
      job: (job) => withContainer(job, { ports: [{ containerPort: -1 }] }),
    });
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_JOB_INVALID' } });
    expect(await cluster.jobs(release)).toHaveLength(0);
  });

  it('a failing program fails the stage, with exit code, attempts and the end of its log', async () => {
    const model = await cluster.model({
      command: ['sh', '-c', 'echo "no such dataset" >&2; exit 3'],
      job: (job) => ({ ...job, spec: { ...(job.spec as object), backoffLimit: 1 } }),
    });
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_TRAINING_FAILED' } });
    const text = JSON.stringify(record.outcome);
    expect(text).toContain('exit code 3');
    expect(text).toContain('after 2 pods');
    expect(text).toContain('no such dataset');
  });

  it('the log is read through the worker, page by page', async () => {
    const model = await cluster.model({
      command: [
        'sh',
        '-c',
        'echo "pod $THROUGHLINE_POD_NAME"; seq 1 40; sleep 1; echo "MODEL_ID=m"; echo w > $MODEL_OUTPUT/w; echo accuracy=1',
      ],
    });
    const record = await cluster.ended(await cluster.trigger(model));
    const read = (from?: string) =>
      cluster.world.client.client.workflow.execute('trainingLog', {
        workflowId: `log-${Math.random()}`,
        taskQueue: 'throughline',
        args: [record.training?.job, from, 600],
      }) as Promise<{ text: string; next: string; complete: boolean }>;
    let all = '';
    let pages = 0;
    for (let from = '1:0'; ; pages += 1) {
      const page = await read(from);
      all += page.text;
      from = page.next;
      if (page.complete) break;
    }
    const pod = record.training?.pods?.[0]?.name;
    const numbers = Array.from({ length: 40 }, (_, index) => `${index + 1}\n`).join('');
    expect(all).toBe(`pod ${pod}\n${numbers}MODEL_ID=m\naccuracy=1\n`);
    expect(pages).toBeGreaterThan(1);
    expect((await read()).text).toContain('accuracy=1');
  });

  it('a result in the log is read where the termination message is empty', async () => {
    const model = await cluster.model({
      command: ['sh', '-c', 'echo w > $MODEL_OUTPUT/w; echo MODEL_ID=tiny-log; echo accuracy=0.96'],
    });
    const record = await cluster.ended(await cluster.trigger(model));
    expect(record.status).toBe('SUCCEEDED');
    expect(record.training).toMatchObject({ id: 'tiny-log', metrics: { accuracy: 0.96 } });
  });

  it('a program that leaves no model is told so', async () => {
    const model = await cluster.model({
      command: ['sh', '-c', 'printf \'{"model":{"id":"m"},"metrics":{"accuracy":1}}\' > $RESULT_FILE'],
    });
    const record = await cluster.ended(await cluster.trigger(model));
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_MODEL_MISSING' } });
  });

  it('a suspended Job is waited for, and goes on when its queue admits it', async () => {
    const model = await cluster.model({
      job: (job) => ({
        ...job,
        metadata: { labels: { 'kueue.x-k8s.io/queue-name': 'gpus' } },
        spec: { ...(job.spec as object), suspend: true },
      }),
    });
    const release = await cluster.trigger(model);
    await cluster.eventually('the queue in the status', async () =>
      (await cluster.world.get(release)).progress.includes('queued by Kueue in gpus'),
    );
    const [job] = await cluster.jobs(release);
    await cluster.api.merge(resourcePath('batch/v1', training, 'jobs', job?.metadata.name), {
      spec: { suspend: false },
    });
    expect((await cluster.ended(release)).status).toBe('SUCCEEDED');
  });

  it('cancelled in the middle leaves no Job and no pod', async () => {
    const model = await cluster.model({ seconds: 300, before: "trap '' TERM" });
    const release = await cluster.trigger(model);
    await cluster.trainingPod(release);
    const begun = Date.now();
    await fetch(`${cluster.world.url}/v1/releases/${release}/cancel`, { method: 'POST' });
    const record = await cluster.ended(release);
    expect(record.status).toBe('CANCELED');
    // The manifest gives the program 1 s, though the pod has longer for the hand-over.
    expect(Date.now() - begun).toBeLessThan(30_000);
    expect(await cluster.jobs(release)).toHaveLength(0);
    expect(await cluster.pods(release)).toHaveLength(0);
    expect(cluster.commits(model, release)).toHaveLength(0);
  });
});

describe('with a worker that dies', () => {
  it('is taken over while the Job runs, and while it finishes', async () => {
    const model = await cluster.model({ seconds: 5 });
    const first = await cluster.worker();
    const release = await cluster.trigger(model);
    const pod = await cluster.trainingPod(release);
    await cluster.world.kill(first);
    const second = await cluster.worker();
    await cluster.eventually('the end of the program', async () => {
      const [found] = await cluster.pods(release);
      return found?.status?.containerStatuses?.[0]?.state?.terminated;
    });
    await cluster.world.kill(second);
    const third = await cluster.worker();
    const record = await cluster.ended(release);
    await expectWhole(model, record, [pod, ...(await cluster.pods(release))]);
    expect(record.training?.attempts).toBe(1);
    await cluster.world.kill(third);
  });

  it('loses no result though the Job finishes and is deleted while no worker runs', async () => {
    const model = await cluster.model({ seconds: 2 });
    const first = await cluster.worker();
    const release = await cluster.trigger(model);
    const pod = await cluster.trainingPod(release);
    await cluster.world.kill(first);
    const done = await cluster.eventually('the end of the Job', async () =>
      (await cluster.jobs(release)).find(({ status }) =>
        status?.conditions?.some(({ type }) => type === 'Complete'),
      ),
    );
    // As the TTL controller deletes: in the foreground, pods first.
    const path = resourcePath('batch/v1', training, 'jobs', done.metadata.name);
    await cluster.api.delete(path, { propagationPolicy: 'Foreground' });
    await sleep(2_000);
    const second = await cluster.worker();
    const record = await cluster.ended(release);
    expect(record.status).toBe('SUCCEEDED');
    expect(record.training?.pods?.map(({ name }) => name)).toEqual([pod.metadata.name]);
    expect(cluster.commits(model, release)).toHaveLength(1);
    // With its result in history nothing holds it any more.
    await cluster.eventually('the Job is gone', async () => (await cluster.jobs(release)).length === 0);
    await cluster.eventually('its pods are gone', async () => (await cluster.pods(release)).length === 0);
    await cluster.world.kill(second);
  });
});

async function expectNothingRuns(release: string): Promise<void> {
  const pods = await cluster.pods(release);
  expect(pods.filter(({ status }) => !['Succeeded', 'Failed'].includes(status?.phase ?? ''))).toEqual([]);
}

async function removeForGood(apiVersion: string, plural: string, name: string): Promise<void> {
  const path = resourcePath(apiVersion, training, plural, name);
  await cluster.api.delete(path, { propagationPolicy: 'Background' });
  await cluster.api.merge(path, { metadata: { finalizers: [] } }).catch(() => undefined);
  await cluster.eventually('the object is gone', () =>
    cluster.api.get(path).then(
      () => false,
      () => true,
    ),
  );
}

async function firstEvent(workflowId: string): Promise<{ input: unknown[] }> {
  const history = await cluster.world.client.client.workflow.getHandle(workflowId).fetchHistory();
  const payloads = history.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads ?? [];
  return { input: payloads.map(({ data }) => JSON.parse(Buffer.from(data ?? []).toString('utf8'))) };
}

function withContainer(job: Record<string, unknown>, extra: object): Record<string, unknown> {
  const copy = structuredClone(job) as { spec: { template: { spec: { containers: object[] } } } };
  Object.assign(copy.spec.template.spec.containers[0] ?? {}, extra);
  return copy;
}
