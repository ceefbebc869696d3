// Rollbacks on a real cluster: by command, until what was there before is Healthy again; and by the release itself.
import { execFile, execFileSync } from 'node:child_process';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { OciProgram, OciProgramEvidence } from '../../src/activities/registry/oci-program.js';
import { clusterEnvironment } from '../../src/demo/cluster-world.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { resourcePath } from '../../src/kubernetes/api.js';
import type { Pod } from '../../src/kubernetes/objects.js';
import { PREDICATE } from '../../src/provenance/statements.js';
import { TRACE_ANNOTATION } from '../../src/telemetry/attributes.js';
import { type ClusterModel, ClusterWorld } from '../support/cluster.js';
import { git } from '../support/world.js';

const run = promisify(execFile);
const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));

let cluster: ClusterWorld;
let directory: string;
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'throughline-test-rollback-'));
  const key = join(directory, 'signing.pem');
  const curve = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
  execFileSync('openssl', ['genpkey', '-quiet', ...curve, '-out', key]);
  cluster = await ClusterWorld.start('cluster-rollback');
  await cluster.worker({ THROUGHLINE_SIGNING_KEY: key });
});
afterAll(async () => {
  await cluster?.stop();
  if (directory) rmSync(directory, { recursive: true, force: true });
});

async function pods(model: ClusterModel): Promise<Pod[]> {
  const { serving } = cluster.state.namespaces;
  const { items } = await cluster.api.get<{ items: Pod[] }>(resourcePath('v1', serving, 'pods'), {
    labelSelector: `app=${model.name}`,
  });
  return items.filter(({ metadata }) => !metadata.deletionTimestamp);
}

describe('a rollback', () => {
  it('by command is Healthy within seconds, its attestations checked first', async () => {
    const model = await cluster.model();
    const first = await cluster.ended(await cluster.trigger(model));
    const second = await cluster.ended(await cluster.trigger(model, { idempotencyKey: `${model.name}-2` }));
    expect([first.status, second.status]).toEqual(['SUCCEEDED', 'SUCCEEDED']);
    const env = { ...cluster.world.environment(), ...clusterEnvironment(cluster.state) };
    const words = [
      'rollback',
      model.name,
      '--environment',
      second.deployments[0]?.environment ?? '',
      '--wait',
      '--json',
    ];
    Object.assign(process.env, clusterEnvironment(cluster.state)); // for the program that this process runs
    const begun = performance.now();
    const { stdout } = await run(process.execPath, [CLI, ...words], {
      env: { ...env, TEMPORAL_ADDRESS: cluster.world.temporalAddress },
    });
    const seconds = (performance.now() - begun) / 1000;
    const record = JSON.parse(stdout) as PresentedRelease;
    expect(record).toMatchObject({
      status: 'SUCCEEDED',
      rollback: { from: { release: second.release }, to: { release: first.release } },
    });
    expect(record.stages.map(({ name }) => name)).toEqual([
      'plan',
      'check evidence',
      `deploy ${record.rollback?.environment}`,
    ]);
    expect(record.deployments[0]?.synced?.pods.length).toBeGreaterThan(0);
    // Beside the image there are where it came from, its first deployment, and now this one.
    const evidence = new OciProgramEvidence(new OciProgram(env.THROUGHLINE_OCI_PROGRAM ?? ''));
    const { attestations = [] } =
      (await evidence.of(first.image?.reference.replace(/:[^:/@]+@/, '@') ?? '')) ?? {};
    const { deployment, provenance } = PREDICATE;
    expect(attestations.map(({ predicateType }) => predicateType).sort()).toEqual(
      [deployment, deployment, provenance].sort(),
    );
    for (const pod of await pods(model)) {
      expect(pod.metadata.annotations?.[TRACE_ANNOTATION]).toBe(first.traceparent);
      expect(pod.status?.containerStatuses?.[0]?.imageID).toContain(first.image?.digest);
    }
    console.log(`from the command to Healthy: ${seconds.toFixed(1)} s`);
  });

  it('of the release itself brings back what ran, where its pods crash', async () => {
    const serve = ['sh', '-c', 'test -e /broken && exit 3; sleep 100000'];
    const model = await cluster.model({ rollback: 'automatic', syncTimeout: '60s', serve });
    const good = await cluster.ended(await cluster.trigger(model));
    expect(good.status).toBe('SUCCEEDED');
    breakIt(model);
    const bad = await cluster.ended(await cluster.trigger(model, { idempotencyKey: `${model.name}-2` }));
    expect(bad.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_DEPLOYMENT_UNHEALTHY' } });
    expect(bad.stages.map(({ name, status }) => `${name}: ${status}`).slice(-2)).toEqual([
      `deploy ${bad.deployments[0]?.environment}: FAILED`,
      `roll back ${bad.deployments[0]?.environment}: SUCCEEDED`,
    ]);
    expect(bad.deployments[0]?.rolledBack?.reason).toContain('TL_DEPLOYMENT_UNHEALTHY');
    const running = await cluster.eventually('one pod', async () => {
      const all = await pods(model);
      return all.length === 1 && all[0];
    });
    expect(running.metadata.annotations?.[TRACE_ANNOTATION]).toBe(good.traceparent);
  });

  it('of the release itself brings back what ran, where its pods crash once it was healthy', async () => {
    const serve = ['sh', '-c', 'test -e /broken && { sleep 8; exit 3; }; sleep 100000'];
    const verify = [
      { name: 'stays-healthy', health: { for: '15s', tolerance: '4s' } },
      { name: 'evaluates', job: { manifest: 'checks/job.yaml', timeout: '2m' } },
    ];
    // A Job of the cluster, which is told what it is about.
    const check = 'echo "$IMAGE"; test "$ENVIRONMENT" = production && test "${IMAGE##*@}" = "$IMAGE_DIGEST"';
    const model = await cluster.model({ rollback: 'automatic', serve, verify, check });
    const good = await cluster.ended(await cluster.trigger(model));
    expect(good.status).toBe('SUCCEEDED');
    const came = good.verifications?.map(({ kind, passed }) => `${kind}: ${passed}`) ?? [];
    expect(came.sort()).toEqual(['health: true', 'job: true']);
    breakIt(model);
    const bad = await cluster.ended(await cluster.trigger(model, { idempotencyKey: `${model.name}-2` }));
    expect(bad.outcome).toMatchObject({ status: 'FAILED', problem: { code: 'TL_VERIFICATION_FAILED' } });
    expect(JSON.stringify(bad.outcome)).toContain('exit code 3');
    expect(bad.deployments[0]).toMatchObject({ synced: {}, rolledBack: {} });
    const running = await cluster.eventually('one pod', async () => {
      const all = await pods(model);
      return all.length === 1 && all[0];
    });
    expect(running.metadata.annotations?.[TRACE_ANNOTATION]).toBe(good.traceparent);
  });
});

/** Its next image has a file that its program ends at. */
function breakIt(model: ClusterModel): void {
  const work = join(directory, model.name);
  git(directory, 'clone', '--quiet', model.gitops.replace('-gitops.git', '.git'), work);
  appendFileSync(join(work, 'inference/Dockerfile'), 'COPY Dockerfile /broken\n');
  git(work, 'commit', '--quiet', '--all', '--message', 'Break it');
  git(work, 'push', '--quiet', 'origin', 'HEAD:main');
}
