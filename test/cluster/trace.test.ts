// The trace of a release on the cluster, as Jaeger has it: BuildKit's spans are in it too, and all of it fits together.
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { PresentedRelease } from '../../src/gateway/present.js';
import type { Pod } from '../../src/kubernetes/objects.js';
import { ClusterWorld, contextOf, type JaegerSpan } from '../support/cluster.js';

let cluster: ClusterWorld;
let worker: Awaited<ReturnType<ClusterWorld['worker']>>;
beforeAll(async () => {
  cluster = await ClusterWorld.start('cluster-trace');
});
beforeEach(async () => {
  worker = await cluster.worker();
});
afterEach(() => cluster.world.killAll());
afterAll(() => cluster?.stop());

const tag = (span: JaegerSpan | undefined, key: string) => span?.tags.find((one) => one.key === key)?.value;
const parentOf = ({ references }: JaegerSpan) => references.find(({ refType }) => refType === 'CHILD_OF');
/** Jaeger counts microseconds. */
const startOf = (span: JaegerSpan) => span.startTime / 1000;
const endOf = (span: JaegerSpan) => (span.startTime + span.duration) / 1000;

/** One trace, one root, every parent there, no id twice, and not a word of Jaeger's against it. */
function expectWhole(spans: readonly JaegerSpan[], record: PresentedRelease): void {
  const ids = spans.map(({ spanID }) => spanID);
  expect(new Set(ids).size).toBe(ids.length);
  expect(new Set(spans.map(({ traceID }) => traceID))).toEqual(new Set([record.traceId]));
  const strangers = spans.filter((span) => !ids.includes(parentOf(span)?.spanID ?? ''));
  expect(strangers.map(({ operationName }) => operationName)).toEqual([`RUN ${record.model}`]);
  const warnings = spans.flatMap((span) =>
    (span.warnings ?? []).map((text) => `${span.operationName}: ${text}`),
  );
  expect(warnings).toEqual([]);
}

describe('Jaeger', () => {
  it('has the whole of it, BuildKit’s own spans too, and finds nothing wrong', async () => {
    const release = await cluster.trigger(await cluster.model({ seconds: 1 }));
    const record = await cluster.ended(release);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    const spans = await cluster.jaegerTrace(record);
    expectWhole(spans, record);
    const services = new Set(spans.map(({ service }) => service));
    expect([...services].sort()).toEqual(['buildkitd', 'throughline']);
    const named = (name: string) => spans.filter(({ operationName }) => operationName === name);
    for (const name of [
      'pod',
      'pod queued',
      'pod starting',
      'pod running',
      'git push',
      'Argo CD sync',
      'rollout',
    ]) {
      expect(named(name), name).toHaveLength(1);
    }
  });

  it('finds nothing wrong where the worker was killed in the middle of training and of the build', async () => {
    const model = await cluster.model({
      seconds: 3,
      dockerfile: `FROM base\nRUN sleep 6 # ${randomUUID()}\nARG MODEL_ID\nCOPY --from=model /model /model\n`,
    });
    const release = await cluster.trigger(model);
    await cluster.trainingPod(release);
    await cluster.world.kill(worker);
    worker = await cluster.worker();
    await cluster.world.until(release, ({ progress }) => /RUN sleep/.test(progress));
    await cluster.world.kill(worker);
    await cluster.worker();
    const record = await cluster.ended(release);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    const spans = await cluster.jaegerTrace(record);
    const lost = spans.filter((span) => tag(span, 'error.type') === 'worker_lost');
    expect(lost.map(({ operationName }) => operationName).sort()).toEqual(['buildImage', 'train']);
    expectWhole(spans, record);
  });
});

/** Six hours, each of six seconds; the pod is replaced in the first of them. */
describe('a release of six hours', () => {
  it('whose pod is replaced three times over two deployments of the worker is one trace, with true times', async () => {
    const model = await cluster.model({ seconds: 36 });
    const release = await cluster.trigger(model);
    const seen = new Map<string, Pod>();
    const watching = setInterval(async () => {
      for (const pod of await cluster.pods(release).catch(() => [])) seen.set(pod.metadata.name, pod);
    }, 100);
    const contexts = new Set<string | undefined>();
    const replaced: string[] = [];
    for (let replacement = 1; replacement <= 3; replacement += 1) {
      const pod = await cluster.trainingPod(release, replaced);
      contexts.add(contextOf(pod));
      if (replacement < 3) {
        // As a Deployment is rolled out: the new one first, then the old one is asked to end.
        const next = await cluster.worker();
        await cluster.world.kill(worker, 'SIGTERM');
        worker = next;
      }
      replaced.push(pod.metadata.name);
      await cluster.evict(pod);
    }
    const last = await cluster.trainingPod(release, replaced);
    contexts.add(contextOf(last));
    const record = await cluster.ended(release);
    clearInterval(watching);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    expect(contexts.size).toBe(1);

    const spans = await cluster.jaegerTrace(record);
    expectWhole(spans, record);
    const [train] = spans.filter((span) => tag(span, 'cicd.pipeline.task.name') === 'train');
    expect(contexts).toEqual(new Set([`00-${record.traceId}-${train?.spanID}-01`]));
    const pods = spans.filter(({ operationName }) => operationName === 'pod');
    expect(pods.map((span) => tag(span, 'k8s.pod.name'))).toEqual([...replaced, last.metadata.name]);
    for (const span of pods) {
      const pod = seen.get(String(tag(span, 'k8s.pod.name')));
      const { state } = pod?.status?.containerStatuses?.find(({ name }) => name === 'trainer') ?? {};
      expect(parentOf(span)?.spanID).toBe(train?.spanID);
      // Kubernetes says it to the second; within its parent's first second it is the parent's start.
      const second = (milliseconds: number) => Math.floor(milliseconds / 1000) * 1000;
      expect(second(startOf(span))).toBe(Date.parse(pod?.metadata.creationTimestamp ?? ''));
      const [running] = spans.filter(
        (one) => one.operationName === 'pod running' && parentOf(one)?.spanID === span.spanID,
      );
      const { startedAt, finishedAt } = state?.terminated ?? {};
      if (!running || !startedAt || !finishedAt) throw new Error(`${pod?.metadata.name} was not seen to end`);
      expect(second(startOf(running))).toBe(Date.parse(startedAt));
      expect(endOf(running)).toBe(Date.parse(finishedAt));
      expect(endOf(span)).toBe(Date.parse(finishedAt));
    }
    const workers = new Set(spans.map((span) => tag(span, 'cicd.worker.id')).filter(Boolean));
    expect(workers.size).toBe(3);
  });
});
