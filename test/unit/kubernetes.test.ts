// What Kubernetes and Argo CD say, and what a release makes of it: pure functions over their objects.
import { describe, expect, it } from 'vitest';
import { covers, sameRepository, sourcesFor } from '../../src/activities/argocd/application.js';
import { ailmentOf, missingOf, unprobed } from '../../src/activities/argocd/rollout.js';
import {
  configurationOf,
  HANDOVER_CONTAINER,
  kubernetesJob,
  RESULT_FINALIZER,
} from '../../src/activities/training/kubernetes/manifest.js';
import { trainedModel } from '../../src/activities/training/kubernetes/result.js';
import { stateOf } from '../../src/activities/training/kubernetes/state.js';
import type { TrainingJob } from '../../src/activities/training/runner.js';
import type { Deployment, Job, Pod } from '../../src/kubernetes/objects.js';
import { parseJobManifest } from '../../src/plan/index.js';

const MANIFEST = `apiVersion: batch/v1
kind: Job
metadata:
  name: any
  labels: { team: ml }
spec:
  activeDeadlineSeconds: 100
  template:
    metadata: { annotations: { a: b } }
    spec:
      restartPolicy: Never
      serviceAccountName: trainer
      volumes: [{ name: data, emptyDir: {} }]
      containers:
        - name: trainer
          image: registry.example/trainer:1
          env:
            - { name: TRACEPARENT, value: mine }
            - { name: SECRET, valueFrom: { secretKeyRef: { name: s, key: k } } }
          volumeMounts: [{ name: data, mountPath: /data }]
        - { name: helper, image: registry.example/helper:1 }
`;

function trainingJob(text = MANIFEST, over: Partial<TrainingJob> = {}): TrainingJob {
  return {
    name: 'ml/digits-aaaaaaaaaaaaaaaaaaaa-123456',
    release: 'rel-aaaaaaaaaaaaaaaaaaaa' as TrainingJob['release'],
    model: 'digits',
    repository: 'https://git.example/ml/digits.git',
    commit: 'c'.repeat(40) as TrainingJob['commit'],
    manifest: parseJobManifest(text, 'job.yaml'),
    image: `registry.example/trainer:1@sha256:${'1'.repeat(64)}`,
    context: 'training',
    dataset: { name: 'digits', version: 'v1' },
    parameters: { RATE: '$(HOME)' },
    timeout: 3600,
    trace: { traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`, baggage: 'k=v' },
    ...over,
  };
}

interface Spec {
  metadata: { name: string; namespace: string; labels: Record<string, string>; finalizers: string[] };
  spec: {
    activeDeadlineSeconds: number;
    podFailurePolicy?: unknown;
    template: {
      metadata: { annotations: Record<string, string>; finalizers: string[] };
      spec: {
        terminationGracePeriodSeconds: number;
        volumes: { name: string }[];
        containers: Container[];
        initContainers: Container[];
      };
    };
  };
}
interface Container {
  name: string;
  image: string;
  restartPolicy?: string;
  env: { name: string; value?: string; valueFrom?: unknown }[];
  volumeMounts: { name: string; mountPath: string }[];
  securityContext?: { runAsUser?: number; runAsNonRoot?: boolean; capabilities?: { add?: string[] } };
}

const handover = { image: 'oci:1', repository: 'registry.example/ml/digits-model', secret: 's', seconds: 60 };
const made = (job = trainingJob()) =>
  kubernetesJob(job, { workloadTelemetry: { OTEL_X: '1' }, handover }) as unknown as Spec;
const variable = (container: Container | undefined, name: string) =>
  container?.env.filter((one) => one.name === name);

describe('the Job that is created', () => {
  it('keeps the manifest, and adds the contract to every container', () => {
    const { metadata, spec } = made();
    expect(metadata).toMatchObject({
      name: 'digits-aaaaaaaaaaaaaaaaaaaa-123456',
      namespace: 'ml',
      labels: { team: 'ml' },
    });
    expect(spec.template.spec).toMatchObject({ serviceAccountName: 'trainer', restartPolicy: 'Never' });
    expect(spec.template.metadata.annotations.a).toBe('b');
    const [trainer, helper] = spec.template.spec.containers;
    for (const container of [trainer, helper]) {
      expect(variable(container, 'TRACEPARENT')).toEqual([
        { name: 'TRACEPARENT', value: trainingJob().trace.traceparent },
      ]);
      expect(variable(container, 'MODEL_OUTPUT')?.[0]?.value).toBe('/throughline/model');
      expect(container?.volumeMounts.map(({ mountPath }) => mountPath)).toContain('/throughline/model');
    }
    expect(variable(trainer, 'SECRET')).toHaveLength(1);
    expect(trainer?.image).toBe(trainingJob().image);
    expect(helper?.image).toBe('registry.example/helper:1');
  });

  it('passes parameters as text: Kubernetes expands nothing in them', () => {
    const [trainer] = made().spec.template.spec.containers;
    expect(variable(trainer, 'RATE')?.[0]?.value).toBe('$$(HOME)');
  });

  it('is kept until its result is in history, with its pods', () => {
    const { metadata, spec } = made();
    expect(metadata.finalizers).toEqual([RESULT_FINALIZER]);
    expect(spec.template.metadata.finalizers).toEqual([RESULT_FINALIZER]);
  });

  it('hands over no model where it checks a deployment, and is told of which', () => {
    const parameters = { ENVIRONMENT: 'production', MODEL_ID: 'digits-1' };
    const { spec } = made({ ...trainingJob(), parameters, verifies: 'production' });
    expect(JSON.stringify(spec)).not.toContain('push-model');
    const [check] = spec.template.spec.containers;
    expect(variable(check, 'MODEL_ID')).toEqual([{ name: 'MODEL_ID', value: 'digits-1' }]);
  });

  it('does not count disruptions, where the manifest says nothing else', () => {
    expect(JSON.stringify(made().spec.podFailurePolicy)).toContain('DisruptionTarget');
    const onFailure = MANIFEST.replace('restartPolicy: Never', 'restartPolicy: OnFailure');
    expect(made(trainingJob(onFailure)).spec.podFailurePolicy).toBeUndefined();
    const own = MANIFEST.replace('spec:\n  active', 'spec:\n  podFailurePolicy: { rules: [] }\n  active');
    expect(made(trainingJob(own)).spec.podFailurePolicy).toEqual({ rules: [] });
  });

  it('ends at the earlier of the two deadlines', () => {
    expect(made().spec.activeDeadlineSeconds).toBe(100);
    expect(made(trainingJob(MANIFEST, { timeout: 50 })).spec.activeDeadlineSeconds).toBe(50);
  });

  it('has a sidecar that runs as the program does, where that is bound to a user', () => {
    const sidecar = (text: string) => made(trainingJob(text)).spec.template.spec.initContainers.at(-1);
    expect(sidecar(MANIFEST)).toMatchObject({
      name: HANDOVER_CONTAINER,
      restartPolicy: 'Always',
      securityContext: { runAsUser: 0 },
    });
    const bound = MANIFEST.replace(
      'restartPolicy: Never',
      'restartPolicy: Never\n      securityContext: { runAsUser: 7, runAsNonRoot: true }',
    );
    expect(sidecar(bound)?.securityContext).toMatchObject({ runAsUser: 7, runAsNonRoot: true });
    expect(sidecar(bound)?.securityContext?.capabilities?.add).toBeUndefined();
  });

  it('has another configuration for another training', () => {
    expect(configurationOf(trainingJob())).toBe(configurationOf(trainingJob()));
    expect(configurationOf(trainingJob(MANIFEST, { parameters: {} }))).not.toBe(
      configurationOf(trainingJob()),
    );
  });
});

const job = (status: Job['status'] = {}, over: Partial<Job> = {}): Job => ({
  metadata: { name: 'j', creationTimestamp: '2026-01-01T00:00:00Z' },
  spec: { backoffLimit: 3 },
  status: { startTime: '2026-01-01T00:00:01Z', ...status },
  ...over,
});
const pod = (status: Pod['status'], metadata: Partial<Pod['metadata']> = {}): Pod => ({
  metadata: { name: 'p', uid: 'u', creationTimestamp: '2026-01-01T00:00:02Z', ...metadata },
  spec: { nodeName: 'n' },
  status: status ?? {},
});
const scheduled = { type: 'PodScheduled', status: 'True' } as const;

describe('the words of a wait', () => {
  const words = (object: Job, pods: Pod[]) => {
    const state = stateOf(object, pods);
    return state.state === 'waiting' ? state.doing : state.state;
  };

  it('are a person’s', () => {
    expect(
      words(
        job(
          {},
          {
            spec: { suspend: true },
            metadata: { name: 'j', labels: { 'kueue.x-k8s.io/queue-name': 'gpu' } },
          },
        ),
        [],
      ),
    ).toBe('queued by Kueue in gpu');
    expect(words(job({}, { spec: { suspend: true } }), [])).toBe('suspended');
    expect(words(job(), [])).toBe('waiting for a pod to be created');
    const message =
      '0/3 nodes are available: 1 Insufficient memory, 3 Insufficient nvidia.com/gpu. preemption: none.';
    expect(
      words(job(), [
        pod({ phase: 'Pending', conditions: [{ type: 'PodScheduled', status: 'False', message }] }),
      ]),
    ).toBe('unschedulable: insufficient memory, nvidia.com/gpu');
    const waiting = (reason: string, text = '') =>
      pod({
        phase: 'Pending',
        conditions: [scheduled],
        containerStatuses: [{ name: 'c', image: 'i:1', state: { waiting: { reason, message: text } } }],
      });
    expect(words(job(), [waiting('ContainerCreating')])).toBe('pulling image i:1 on n');
    expect(words(job(), [waiting('ImagePullBackOff', 'not found')])).toBe('cannot pull i:1: not found');
    expect(words(job(), [waiting('CreateContainerConfigError', 'no secret')])).toBe(
      'cannot start container c: no secret',
    );
    expect(words(job(), [pod({ phase: 'Running' })])).toBe('running in pod p');
  });

  it('tell what became of the pods before', () => {
    const evicted = pod(
      {
        phase: 'Failed',
        conditions: [{ type: 'DisruptionTarget', status: 'True', reason: 'EvictionByEvictionAPI' }],
      },
      { name: 'a', creationTimestamp: '2026-01-01T00:00:01Z' },
    );
    expect(words(job(), [evicted, pod({ phase: 'Running' })])).toBe(
      'pod evicted, attempt 2 of 4: running in pod p',
    );
    const crashed = pod({
      phase: 'Failed',
      containerStatuses: [{ name: 'c', state: { terminated: { exitCode: 137, reason: 'OOMKilled' } } }],
    });
    expect(words(job(), [crashed])).toBe('pod out of memory, attempt 2 of 4: waiting to try again');
  });

  it('count nothing as stuck that the Job itself will try again', () => {
    const crashed = pod({ phase: 'Failed' });
    expect(stateOf(job(), [crashed])).not.toHaveProperty('stuckSince', expect.any(String));
    expect(stateOf(job(), [crashed])).toMatchObject({ stuckOn: 'no pod', backsOff: true });
    expect(stateOf(job(), [])).toMatchObject({ stuckOn: 'no pod' });
    expect(stateOf(job(), [])).not.toHaveProperty('backsOff');
    // An evicted pod is gone without being counted, hours after the Job began.
    const evicted = { name: 'p', uid: 'u', end: 'evicted' };
    expect(stateOf(job(), [], [evicted])).toMatchObject({
      doing: 'pod evicted, attempt 2 of 4: waiting to try again',
      backsOff: true,
    });
    expect(stateOf(job(), [])).not.toHaveProperty('stuckSince', expect.any(String));
  });

  it('count a pod as stuck from when it was seen to be, not from a slow pull on', () => {
    const unpullable = pod({
      phase: 'Pending',
      conditions: [scheduled],
      containerStatuses: [{ name: 'c', image: 'i:1', state: { waiting: { reason: 'ErrImagePull' } } }],
    });
    expect(stateOf(job(), [unpullable])).toMatchObject({ stuckOn: 'u' });
    expect(stateOf(job(), [unpullable])).not.toHaveProperty('stuckSince', expect.any(String));
  });
});

describe('the result of a training', () => {
  const ended = (message: string, model?: object): Pod =>
    pod({
      phase: 'Succeeded',
      containerStatuses: [{ name: 'trainer', state: { terminated: { exitCode: 0, message } } }],
      initContainerStatuses: model
        ? [
            {
              name: HANDOVER_CONTAINER,
              state: { terminated: { exitCode: 0, message: JSON.stringify(model) } },
            },
          ]
        : [],
    });
  const digest = `sha256:${'d'.repeat(64)}`;
  const result = (pods: Pod[], log = '') =>
    trainedModel({
      job: trainingJob(),
      object: job(),
      pods,
      records: [],
      container: 'trainer',
      readLog: async () => log,
    });
  const said = '{"model":{"id":"m"},"metrics":{"accuracy":0.9}}';

  it('is the termination message, with the model that the sidecar pushed', async () => {
    const model = { uri: `oci://r/m:1@${digest}`, digest };
    expect(await result([ended(said, { model })])).toMatchObject({
      id: 'm',
      uri: model.uri,
      digest,
      metrics: { accuracy: 0.9 },
    });
  });

  it('is the log where the message is empty', async () => {
    const model = { uri: `oci://r/m:1@${digest}`, digest };
    expect(await result([ended('', { model })], 'MODEL_ID=from-log\n')).toMatchObject({ id: 'from-log' });
    await expect(result([ended('', { model })], 'nothing')).rejects.toMatchObject({
      code: 'TL_RESULT_MISSING',
    });
  });

  it('is the program’s own model where it pushed one', async () => {
    const own = `{"model":{"id":"m","uri":"oci://mine/m","digest":"${digest}"},"metrics":{}}`;
    expect(await result([ended(own)])).toMatchObject({ uri: `oci://mine/m@${digest}` });
  });

  it('says why there is no model', async () => {
    await expect(result([ended(said)])).rejects.toMatchObject({ code: 'TL_MODEL_MISSING' });
    await expect(result([ended(said, { error: 'denied' })])).rejects.toMatchObject({
      problem: { found: expect.stringContaining('denied') },
    });
  });
});

describe('an Application', () => {
  it('watches a repository under any of its URLs', () => {
    const url = 'https://git.example/ml/gitops.git';
    for (const same of [
      'https://git.example/ml/gitops',
      'git@git.example:ml/gitops.git',
      'ssh://git@git.example:22/ml/gitops',
      'https://GIT.example:443/ml/gitops/',
    ]) {
      expect(sameRepository(url, same), same).toBe(true);
    }
    for (const other of [
      'https://git.example/ml/other',
      'https://other.example/ml/gitops',
      'https://git.example:8443/ml/gitops',
    ]) {
      expect(sameRepository(url, other), other).toBe(false);
    }
  });

  it('covers the manifests of its path', () => {
    const source = { repoURL: '', path: 'k8s' };
    expect(covers(source, 'k8s/deployment.yaml')).toBe(true);
    expect(covers(source, 'k8s/deep/deployment.yaml')).toBe(false);
    expect(covers({ ...source, directory: { recurse: true } }, 'k8s/deep/deployment.yaml')).toBe(true);
    expect(covers(source, 'k8s-other/deployment.yaml')).toBe(false);
    expect(covers({ repoURL: '' }, 'deployment.yaml')).toBe(true);
  });

  it('has one source, or several', () => {
    const repoURL = 'https://git.example/a';
    const metadata = { name: 'a' };
    expect(sourcesFor({ metadata, spec: { source: { repoURL } } }, repoURL)).toHaveLength(1);
    const several = sourcesFor(
      {
        metadata,
        spec: { sources: [{ repoURL: 'https://x.example/b' }, { repoURL }, { repoURL, chart: 'c' }] },
      },
      repoURL,
    );
    expect(several.map(({ index }) => index)).toEqual([1]);
  });
});

describe('pods that nobody probes', () => {
  const deployment = (minReadySeconds?: number): Deployment => ({
    metadata: { name: 'd' },
    spec: { selector: {}, ...(minReadySeconds === undefined ? {} : { minReadySeconds }) },
  });
  const pod = (
    restartCount: number,
    probe: Record<string, unknown> = {},
    startedAt = '2026-01-01T00:00:00Z',
  ): Pod => ({
    metadata: { name: 'p' },
    spec: { containers: [{ name: 'c', ...probe }, { name: 'sidecar' }] },
    status: { containerStatuses: [{ name: 'c', restartCount, state: { running: { startedAt } } }] },
  });
  it('stand for the same as long as they run on', () => {
    expect(unprobed(deployment(), [pod(0)], 'c')).toBeDefined();
    expect(unprobed(deployment(), [pod(0)], 'c')).toBe(unprobed(deployment(), [pod(0)], 'c'));
  });
  it('stand for something else when one has started again', () => {
    const first = unprobed(deployment(), [pod(0)], 'c');
    expect(unprobed(deployment(), [pod(1)], 'c')).not.toBe(first);
    expect(unprobed(deployment(), [pod(0, {}, '2026-01-01T00:00:01Z')], 'c')).not.toBe(first);
  });
  it('are none where a probe, or the workload’s own patience, says more', () => {
    expect(unprobed(deployment(), [pod(0, { readinessProbe: {} })], 'c')).toBeUndefined();
    expect(unprobed(deployment(), [pod(0, { startupProbe: {} })], 'c')).toBeUndefined();
    expect(unprobed(deployment(5), [pod(0)], 'c')).toBeUndefined();
    expect(unprobed(deployment(0), [pod(0)], 'c')).toBeDefined();
  });
  it('are those of the container alone that was deployed', () =>
    expect(unprobed(deployment(), [pod(0, { readinessProbe: {} })], 'sidecar')).toBeDefined());
});

describe('a roll-out', () => {
  const wanted = { container: 'c', traceparent: 't', imageDigest: `sha256:${'1'.repeat(64)}` };
  const deployment = (status: Deployment['status']): Deployment => ({
    metadata: { name: 'd', generation: 2 },
    spec: { replicas: 1, selector: {} },
    status: status ?? {},
  });
  const complete = { observedGeneration: 2, replicas: 1, updatedReplicas: 1, availableReplicas: 1 };
  const running = (over: { annotation?: string; image?: string; imageID?: string } = {}): Pod => ({
    metadata: { name: 'p', annotations: { 'orchestration.trace_id': over.annotation ?? 't' } },
    spec: { containers: [{ name: 'c', image: over.image ?? `i:1@${wanted.imageDigest}` }] },
    status: {
      phase: 'Running',
      conditions: [{ type: 'Ready', status: 'True' }],
      containerStatuses: [{ name: 'c', imageID: over.imageID ?? `i@${wanted.imageDigest}` }],
    },
  });

  it('is complete when the pods are ours (I5)', () => {
    expect(missingOf(deployment(complete), [running()], wanted)).toBeUndefined();
  });

  it('is not, while anything is not', () => {
    expect(missingOf(deployment({ ...complete, observedGeneration: 1 }), [running()], wanted)).toMatch(
      /has not seen/,
    );
    expect(missingOf(deployment({ ...complete, updatedReplicas: 0 }), [running()], wanted)).toMatch(
      /0 of 1 pods are updated/,
    );
    expect(missingOf(deployment({ ...complete, replicas: 2 }), [running()], wanted)).toMatch(/1 old pods/);
    expect(missingOf(deployment({ ...complete, availableReplicas: 0 }), [running()], wanted)).toMatch(
      /0 of 1 pods are available/,
    );
    expect(missingOf(deployment(complete), [running({ annotation: 'other' })], wanted)).toMatch(
      /another orchestration.trace_id/,
    );
    expect(missingOf(deployment(complete), [running({ image: 'i:1' })], wanted)).toMatch(/is of image i:1/);
    expect(
      missingOf(deployment(complete), [running({ imageID: `i@sha256:${'2'.repeat(64)}` })], wanted),
    ).toMatch(/runs sha256:2/);
  });

  it('ails later where no pod is available, or some crash; not where an autoscaler has asked for more', () => {
    const scaled = (availableReplicas: number, replicas: number): Deployment => ({
      ...deployment({ ...complete, availableReplicas }),
      spec: { replicas, selector: {} },
    });
    const crashed: Pod = {
      metadata: { name: 'q' },
      status: {
        containerStatuses: [
          {
            name: 'c',
            state: { waiting: { reason: 'CrashLoopBackOff' } },
            lastState: { terminated: { exitCode: 3 } },
            restartCount: 2,
          },
        ],
      },
    };
    expect(ailmentOf(scaled(1, 1), [running()])).toBeUndefined();
    expect(ailmentOf(scaled(1, 3), [running()])).toBeUndefined();
    expect(ailmentOf(scaled(0, 0), [])).toBeUndefined();
    expect(ailmentOf(scaled(0, 1), [])).toBe('0 of 1 pods are available');
    expect(ailmentOf(scaled(1, 2), [running(), crashed])).toMatch(/1 of 2 .*CrashLoopBackOff.*exit code 3/);
    // It has crashed before, and is available again.
    expect(ailmentOf(scaled(2, 2), [running(), crashed])).toBeUndefined();
  });
});
