// What a release attests on the cluster: signed before it is deployed, verified by upstream's cosign and by our own
// command, and every change that is made to it afterwards is seen.
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DriftChecker } from '../../src/activities/drift/checker.js';
import { OciProgram, OciProgramEvidence } from '../../src/activities/registry/oci-program.js';
import { clusterEnvironment } from '../../src/demo/cluster-world.js';
import type { ExpectedState } from '../../src/domain/drift.js';
import type { ReleaseId } from '../../src/domain/ids.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { resourcePath } from '../../src/kubernetes/api.js';
import type { Pod } from '../../src/kubernetes/objects.js';
import { expectedStates } from '../../src/lineage/drift.js';
import { LineageStore, lineageOf } from '../../src/lineage/index.js';
import { SignatureVerifier } from '../../src/provenance/signing.js';
import { PREDICATE } from '../../src/provenance/statements.js';
import type { Verification } from '../../src/provenance/verify.js';
import { TRACE_ANNOTATION } from '../../src/telemetry/attributes.js';
import { runsOf } from '../../src/telemetry/delivery.js';
import { type ClusterModel, ClusterWorld } from '../support/cluster.js';
import { git } from '../support/world.js';

const run = promisify(execFile);
const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));

let cluster: ClusterWorld;
let model: ClusterModel;
let record: PresentedRelease;
let directory: string;
let env: NodeJS.ProcessEnv;
const keys = { secret: '', pub: '', stranger: '' };

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'throughline-test-provenance-'));
  for (const name of ['signing', 'other']) {
    const file = join(directory, name);
    execFileSync('openssl', [
      ...[
        'genpkey',
        '-quiet',
        '-algorithm',
        'EC',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-out',
        `${file}.pem`,
      ],
    ]);
    execFileSync('openssl', ['pkey', '-in', `${file}.pem`, '-pubout', '-out', `${file}.pub`]);
  }
  Object.assign(keys, {
    secret: join(directory, 'signing.pem'),
    pub: join(directory, 'signing.pub'),
    stranger: join(directory, 'other.pub'),
  });
  cluster = await ClusterWorld.start('cluster-provenance');
  env = { ...process.env, ...clusterEnvironment(cluster.state), XDG_CACHE_HOME: join(directory, 'cache') };
  Object.assign(process.env, clusterEnvironment(cluster.state)); // for the program that this process runs
  await cluster.worker({ THROUGHLINE_SIGNING_KEY: keys.secret });
  model = await cluster.model();
  record = await cluster.ended(await cluster.trigger(model));
  expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
});
afterAll(async () => {
  await cluster?.stop();
  if (directory) rmSync(directory, { recursive: true, force: true });
});

const verify = async (what: string, ...words: string[]): Promise<Verification & { code: number }> => {
  const ended = await run(process.execPath, [CLI, 'verify', what, '--json', ...words], { env }).catch(
    (error: { code: number; stdout: string }) => error,
  );
  return { ...JSON.parse(ended.stdout), code: 'code' in ended ? ended.code : 0 };
};
const failures = ({ checks }: Verification) =>
  checks.filter(({ result }) => result === 'failed').map(({ what, detail }) => `${what}: ${detail}`);
const image = () => record.image?.reference ?? '';
const byDigest = () => `${image().replace(/:[^:/@]+@/, '@')}`;

describe('a release', () => {
  it('is signed before it is deployed', async () => {
    const evidence = new OciProgramEvidence(new OciProgram(env.THROUGHLINE_OCI_PROGRAM ?? ''));
    const types = async (reference: string) =>
      (await evidence.of(reference))?.attestations.map(({ predicateType }) => predicateType).sort();
    expect(await types(byDigest())).toEqual([PREDICATE.deployment, PREDICATE.provenance].sort());
    expect(await types(record.training?.uri.replace('oci://', '') ?? '')).toEqual(
      [PREDICATE.provenance, PREDICATE.testResult].sort(),
    );
    const { events } = await cluster.world.client.client.workflow.getHandle(record.release).fetchHistory();
    const order = (events ?? []).flatMap(
      ({ activityTaskScheduledEventAttributes: scheduled }) => scheduled?.activityType?.name ?? [],
    );
    expect(order.indexOf('attestRelease')).toBeGreaterThan(order.indexOf('buildImage'));
    expect(order.indexOf('attestRelease')).toBeLessThan(order.indexOf('commitDeployment'));
  });

  it('keeps what it signed in its history, each once, for when the registry has it no more', async () => {
    const { client } = cluster.world.client;
    const { attestations } = lineageOf(await runsOf(client, record.release as ReleaseId));
    expect(attestations.map(({ predicateType }) => predicateType).sort()).toEqual(
      [PREDICATE.deployment, PREDICATE.provenance, PREDICATE.provenance, PREDICATE.testResult].sort(),
    );
    const signatures = await SignatureVerifier.of({ keys: [keys.pub] });
    for (const { bundle } of attestations) expect(signatures.open(bundle)).toHaveProperty('statement');
    const { events } = await client.workflow.getHandle(record.release).fetchHistory();
    const texts: string[] = [];
    const read = (value: unknown): void => {
      if (value instanceof Uint8Array) texts.push(Buffer.from(value).toString());
      else if (typeof value === 'object' && value !== null) Object.values(value).forEach(read);
    };
    read(events);
    const history = texts.join('\n');
    for (const { bundle } of attestations) {
      const { payload } = (bundle as { dsseEnvelope: { payload: string } }).dsseEnvelope;
      expect(history.split(payload).length - 1).toBe(1);
    }
  });

  it('says what its image was built from', async () => {
    const evidence = new OciProgramEvidence(new OciProgram(env.THROUGHLINE_OCI_PROGRAM ?? ''));
    const base = await evidence.of(cluster.image);
    expect(record.image?.baseImages?.map(({ digest }) => digest)).toEqual([base?.digest]);
  });

  it('is verified back to commit and dataset, from the registry and a public key', async () => {
    const found = await verify(image(), '--key', keys.pub);
    expect(failures(found)).toEqual([]);
    expect(found).toMatchObject({
      code: 0,
      verified: true,
      digest: record.image?.digest,
      chain: { release: record.release, commit: record.commit, dataset: 'numbers@v1' },
    });
    expect(found.checks.find(({ what }) => what.startsWith('what was committed'))?.result).toBe('passed');
  });

  it('is verified by its model, back to commit and dataset', async () => {
    const found = await verify(record.training?.uri ?? '', '--key', keys.pub);
    expect(failures(found)).toEqual([]);
    expect(found).toMatchObject({
      code: 0,
      digest: record.training?.digest,
      chain: { release: record.release, commit: record.commit, dataset: 'numbers@v1' },
    });
  });

  it('is verified by the pod that runs it', async () => {
    const [pod] = record.deployments[0]?.synced?.pods ?? [];
    const found = await verify(`pod:${cluster.state.namespaces.serving}/${pod}`, '--key', keys.pub);
    expect(failures(found)).toEqual([]);
    expect(found).toMatchObject({ code: 0, digest: record.image?.digest });
    expect(found.checks.map(({ what }) => what)).toContain('the pod says what was committed');
  });

  it('is not verified by a pod whose link to its trace was changed by a byte', async () => {
    const [pod = ''] = record.deployments[0]?.synced?.pods ?? [];
    const path = resourcePath('v1', cluster.state.namespaces.serving, 'pods', pod);
    const { metadata } = await cluster.api.get<Pod>(path);
    const said = metadata.annotations?.[TRACE_ANNOTATION] ?? '';
    const annotate = (value: string) =>
      cluster.api.merge(path, { metadata: { annotations: { [TRACE_ANNOTATION]: value } } });
    await annotate(said.replace(/.$/, (last) => (last === '1' ? '0' : '1')));
    const found = await verify(`pod:${cluster.state.namespaces.serving}/${pod}`, '--key', keys.pub);
    await annotate(said);
    expect(found.code).toBe(1);
    expect(failures(found)).toEqual([expect.stringContaining(TRACE_ANNOTATION)]);
  });

  it('is not verified by another key, nor where nothing was signed', async () => {
    expect(await verify(image(), '--key', keys.stranger)).toMatchObject({ code: 1, verified: false });
    const unsigned = `${cluster.state.registry.address}/throughline/buildkit:1`;
    expect(await verify(unsigned, '--key', keys.pub)).toMatchObject({ code: 1, verified: false });
  });

  it('is held to a committed image', async () => {
    const evidence = await verify(image(), '--key', keys.pub);
    expect(evidence.verified).toBe(true);
    const commit = record.deployments[0]?.commit ?? '';
    expect(git(model.gitops, 'show', `${commit}:k8s/deployment.yaml`)).toContain(record.image?.digest);
  });
});

describe('drift', () => {
  let expected: ExpectedState;
  const check = async (key: string) => {
    const { release } = record;
    const checker = new DriftChecker({
      cache: join(directory, 'git'),
      api: cluster.api,
      evidence: new OciProgramEvidence(new OciProgram(env.THROUGHLINE_OCI_PROGRAM ?? '')),
      signatures: await SignatureVerifier.of({ keys: [key] }),
    });
    const options = { signal: AbortSignal.timeout(60_000), report: () => undefined };
    const [check] = await checker.check([expected], options);
    if (!check) throw new Error('nothing was looked at');
    const { drifts, unchecked, ...target } = check;
    expect(target).toMatchObject({ release, environment: 'production' });
    expect(unchecked).toEqual([]);
    return drifts;
  };
  beforeAll(async () => {
    const store = await LineageStore.open({});
    await store.put([lineageOf(await runsOf(cluster.world.client.client, record.release as ReleaseId))]);
    const [state] = await expectedStates(store.database);
    await store.close();
    if (!state) throw new Error('nothing was deployed');
    expected = state;
  });

  it('is none where everything is as it was released', async () =>
    expect(await check(keys.secret)).toEqual([])); // of a private key the public one is taken

  it('is an attestation that does not hold', async () =>
    expect((await check(keys.stranger)).map(({ what }) => what)).toContain('attestation'));

  it('is another model behind the same name', async () => {
    const digest = `sha256:${'0'.repeat(64)}`;
    expected = { ...expected, modelDigest: digest };
    expect(await check(keys.pub)).toMatchObject([{ what: 'model', expected: digest }]);
    expected = { ...expected, modelDigest: record.training?.digest ?? null };
  });

  it('is a pod that says something else, until it says it no more', async () => {
    const [pod = ''] = record.deployments[0]?.synced?.pods ?? [];
    const path = resourcePath('v1', cluster.state.namespaces.serving, 'pods', pod);
    const name = 'resource.opentelemetry.io/ml.dataset.version';
    const annotate = (value: string) =>
      cluster.api.merge(path, { metadata: { annotations: { [name]: value } } });
    await annotate('v9');
    expect(await check(keys.pub)).toMatchObject([
      { what: 'annotation', where: expect.stringContaining(pod), expected: 'v1', found: 'v9' },
    ]);
    await annotate('v1');
    expect(await check(keys.pub)).toEqual([]);
  });

  it('is a workload that is gone', async () => {
    const { workload } = expected;
    expected = { ...expected, workload: workload && { ...workload, name: 'nothing' } };
    expect(await check(keys.pub)).toMatchObject([{ what: 'missing', found: 'no such workload' }]);
    expected = { ...expected, workload };
  });
});

describe('cosign', () => {
  const cosign = (...words: string[]) =>
    run(join(process.env.COSIGN_DIRECTORY ?? '', 'cosign'), words, {
      env: { ...env, SSL_CERT_FILE: env.SSL_CERT_FILE, HOME: directory },
    });
  const attestations = (type: string, subject: string, key: string) =>
    cosign(...['verify-attestation', '--key', key, '--type', type, '--insecure-ignore-tlog=true'], subject);

  it('verifies the provenance of the image and of the model, and what was deployed', async () => {
    const subject = record.training?.uri.replace('oci://', '').replace(/:[^:/@]+@/, '@') ?? '';
    for (const [type, of] of [
      ['slsaprovenance1', byDigest()],
      [PREDICATE.deployment, byDigest()],
      ['slsaprovenance1', subject],
      [PREDICATE.testResult, subject],
    ] as const) {
      const { stdout } = await attestations(type, of, keys.pub);
      const [line = ''] = stdout.trim().split('\n');
      const { payload } = JSON.parse(line) as { payload: string };
      expect(Buffer.from(payload, 'base64').toString('utf8'), `${type} of ${of}`).toContain(record.release);
    }
  });

  it('does not where another key is given', async () => {
    await expect(attestations('slsaprovenance1', byDigest(), keys.stranger)).rejects.toThrow();
  });
});
