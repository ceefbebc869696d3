// What can happen between a push and running pods, done to a real Argo CD: DESIGN §7, I4, I5.
import { rmSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { resourcePath } from '../../src/kubernetes/api.js';
import type { Pod } from '../../src/kubernetes/objects.js';
import { type ClusterModel, ClusterWorld } from '../support/cluster.js';
import { git, temporaryDirectory } from '../support/world.js';

let cluster: ClusterWorld;
let argocd: string;

beforeAll(async () => {
  cluster = await ClusterWorld.start('cluster-deployment');
  argocd = cluster.state.namespaces.argocd;
  await cluster.worker();
});
afterAll(() => cluster?.stop());

const application = (model: ClusterModel) =>
  resourcePath('argoproj.io/v1alpha1', argocd, 'applications', model.name);

/** Commits by hand to the GitOps repository of a model. */
function commitByHand(model: ClusterModel, edit: (directory: string) => void, message: string): string {
  const work = temporaryDirectory('by-hand');
  git(work, 'clone', '--quiet', model.gitops, '.');
  edit(work);
  git(work, 'commit', '--quiet', '--all', '--allow-empty', '--message', message);
  git(work, 'push', '--quiet', 'origin', 'HEAD:main');
  const commit = git(work, 'rev-parse', 'HEAD').trim();
  rmSync(work, { recursive: true });
  return commit;
}

async function pushed(model: ClusterModel, release: string): Promise<string> {
  return cluster.eventually('the GitOps commit', async () => cluster.commits(model, release)[0], 90);
}

describe('a deployment', () => {
  it('succeeds when the pods carry the annotation and run the digest (I5)', async () => {
    const model = await cluster.model();
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    const [deployment] = record.deployments;
    expect(deployment?.synced).toMatchObject({
      application: `${argocd}/${model.name}`,
      revision: deployment?.commit,
      workload: { kind: 'Deployment', name: model.name },
    });
    for (const name of deployment?.synced?.pods ?? []) {
      const pod = await cluster.api.get<Pod>(
        resourcePath('v1', cluster.state.namespaces.serving, 'pods', name),
      );
      expect(pod.metadata.annotations?.['orchestration.trace_id']).toBe(record.traceparent);
      expect(pod.status?.containerStatuses?.[0]?.imageID).toContain(record.image?.digest);
    }
    expect(deployment?.synced?.pods).toHaveLength(1);
    // I10: `RECORD=1` keeps the history, which the tests of replay take up.
    if (process.env.RECORD) await cluster.record(release, 'kubernetes-succeeded');
  });

  it('waits for an Argo CD that is down during the push', async () => {
    const model = await cluster.model();
    const start = cluster.kill('argocd-application-controller');
    const release = await cluster.trigger(model);
    await pushed(model, release);
    await cluster.eventually('the wait in the status', async () =>
      /waiting for Argo CD to see the commit/.test((await cluster.world.get(release)).progress),
    );
    await sleep(3_000);
    start();
    const record = await cluster.ended(release);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    expect(cluster.commits(model, release)).toHaveLength(1);
  });

  it('counts a newer commit on top that keeps the change', async () => {
    const model = await cluster.model();
    const start = cluster.kill('argocd-application-controller');
    const release = await cluster.trigger(model);
    const ours = await pushed(model, release);
    const theirs = commitByHand(model, () => {}, 'Something else');
    start();
    const record = await cluster.ended(release);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    expect(record.deployments[0]).toMatchObject({ commit: ours, synced: { revision: theirs } });
  });

  it('ends when somebody takes the change back by hand', async () => {
    const model = await cluster.model();
    const start = cluster.kill('argocd-application-controller');
    const release = await cluster.trigger(model);
    await pushed(model, release);
    commitByHand(model, (work) => git(work, 'revert', '--no-edit', 'HEAD'), 'Not now');
    start();
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_SYNC_REVERTED' } });
    expect(cluster.commits(model, release)).toHaveLength(1);
  });

  it('gives way to a newer release of the model', async () => {
    const model = await cluster.model();
    const start = cluster.kill('argocd-application-controller');
    const older = await cluster.trigger(model);
    await pushed(model, older);
    const newer = await cluster.trigger(model, { idempotencyKey: `again-${model.name}` });
    await pushed(model, newer);
    start();
    expect((await cluster.ended(older)).status).toBe('SUPERSEDED');
    expect((await cluster.ended(newer)).status).toBe('SUCCEEDED');
  });

  it('fails at its deadline with the pods’ words when the manifest crashes on start', async () => {
    const model = await cluster.model({ serve: ['sh', '-c', 'echo broken; exit 3'], syncTimeout: '45s' });
    const record = await cluster.ended(await cluster.trigger(model));
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_DEPLOYMENT_UNHEALTHY' } });
    expect(JSON.stringify(record.outcome)).toMatch(/CrashLoopBackOff|exit code 3/);
  });

  it('fails at its deadline when the sync policy is manual, and says so', async () => {
    const model = await cluster.model({ syncTimeout: '25s' });
    await cluster.api.merge(application(model), { spec: { syncPolicy: null } });
    const record = await cluster.ended(await cluster.trigger(model));
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_SYNC_BLOCKED' } });
    expect(JSON.stringify(record.outcome)).toContain('manual');
  });

  it('fails at its deadline when the Application is paused, and says so', async () => {
    const model = await cluster.model({ syncTimeout: '10s' });
    await cluster.api.merge(application(model), {
      metadata: { annotations: { 'argocd.argoproj.io/skip-reconcile': 'true' } },
    });
    const record = await cluster.ended(await cluster.trigger(model));
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_SYNC_BLOCKED' } });
    expect(JSON.stringify(record.outcome)).toContain('paused');
  });

  it('fails at its deadline with Argo CD’s message when a sync hook fails', async () => {
    const model = await cluster.model({ syncTimeout: '75s' }); // its pod has to be pulled, started and seen to fail
    const hook = {
      apiVersion: 'batch/v1',
      kind: 'Job',
      metadata: { generateName: 'hook-', annotations: { 'argocd.argoproj.io/hook': 'PreSync' } },
      spec: {
        backoffLimit: 0,
        template: {
          spec: {
            restartPolicy: 'Never',
            containers: [{ name: 'h', image: cluster.image, command: ['false'] }],
          },
        },
      },
    };
    const work = temporaryDirectory('hook');
    onTestFinished(() => rmSync(work, { recursive: true }));
    git(work, 'clone', '--quiet', model.gitops, '.');
    writeFileSync(`${work}/k8s/hook.yaml`, JSON.stringify(hook));
    git(work, 'add', '--all');
    git(work, 'commit', '--quiet', '--message', 'A hook');
    git(work, 'push', '--quiet', 'origin', 'HEAD:main');
    const record = await cluster.ended(await cluster.trigger(model));
    expect(record.outcome, JSON.stringify(record.outcome)).toMatchObject({
      status: 'FAILED',
      problem: { code: 'TL_SYNC_FAILED' },
    });
  });
});

describe('an Application that would never deploy it', () => {
  const refused = async (source: Record<string, string>, what: string) => {
    const model = await cluster.model({ source });
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_APPLICATION_MISMATCH' } });
    expect(JSON.stringify(record.outcome)).toContain(what);
    expect(await cluster.jobs(release)).toHaveLength(0); // before training starts
  };

  it('is refused where it watches another repository', () =>
    refused({ repoURL: 'https://git.example/ml/other.git' }, 'does not watch the repository'));
  it('is refused where it watches another branch', () =>
    refused({ targetRevision: 'release' }, 'does not watch the branch'));
  it('is refused where it watches another path', () =>
    refused({ path: 'elsewhere' }, 'does not watch the manifest'));

  it('is refused where there is none', async () => {
    const model = await cluster.model();
    await cluster.remove('argoproj.io/v1alpha1', argocd, 'applications', model.name);
    await cluster.eventually('the Application is gone', () =>
      cluster.api.get(application(model)).then(
        () => false,
        () => true,
      ),
    );
    const release = await cluster.trigger(model);
    const record = await cluster.ended(release);
    expect(record.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_APPLICATION_NOT_FOUND' } });
    expect(await cluster.jobs(release)).toHaveLength(0);
  });

  it('is taken with its HEAD, where that is the branch', async () => {
    const model = await cluster.model({ source: { targetRevision: 'HEAD' } });
    expect((await cluster.ended(await cluster.trigger(model))).status).toBe('SUCCEEDED');
  });
});
