// What a release attests, and whether a verifier sees through what was changed: real keys and signatures; the registry is
// a map, which the tests of oci/ and of the cluster have in its place.
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { Committed } from '../../src/activities/gitops/history.js';
import type { DeployedTemplate } from '../../src/activities/gitops/manifest.js';
import type { Attestation, Evidence, EvidenceStore } from '../../src/activities/registry/evidence.js';
import type { Digest, ReleaseId } from '../../src/domain/ids.js';
import { matches } from '../../src/domain/patterns.js';
import type { ReleaseRecord } from '../../src/domain/release.js';
import type { PodTemplate } from '../../src/kubernetes/objects.js';
import { find } from '../../src/lineage/find.js';
import { LineageStore } from '../../src/lineage/index.js';
import { lineageOf } from '../../src/lineage/record.js';
import { attestRelease } from '../../src/provenance/attest.js';
import { NO_POLICY, type Policy, readPolicy } from '../../src/provenance/policy.js';
import { commandSigner, keySigner, SignatureVerifier, signStatement } from '../../src/provenance/signing.js';
import { PREDICATE, statementsOf } from '../../src/provenance/statements.js';
import { verifyImage } from '../../src/provenance/verify.js';
import { LABEL_PREFIX } from '../../src/telemetry/attributes.js';
import { attestedOf } from '../../src/workflows/attest.js';
import { keptRun } from '../support/lineage.js';
import { temporaryDirectory } from '../support/world.js';

const directory = temporaryDirectory('provenance');
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function key(name: string, ...algorithm: string[]): { key: string; pub: string } {
  const [secret, pub] = [join(directory, `${name}.pem`), join(directory, `${name}.pub`)];
  execFileSync('openssl', ['genpkey', '-quiet', ...algorithm, '-out', secret]);
  execFileSync('openssl', ['pkey', '-in', secret, '-pubout', '-out', pub]);
  return { key: secret, pub };
}
const EC = ['-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'];
const ours = key('ours', ...EC);
const stranger = key('stranger', ...EC);

/** The chain of a real release, as the store has it. */
const release = await (async () => {
  const store = await LineageStore.open({});
  await store.put([lineageOf([keptRun('0.1.0/kubernetes-succeeded.json')])]);
  const { releases } = await find(store.database, 'model:tiny');
  const [first] =
    releases.length > 0
      ? releases
      : (
          await find(
            store.database,
            String(lineageOf([keptRun('0.1.0/kubernetes-succeeded.json')]).release.id),
          )
        ).releases;
  await store.close();
  if (!first) throw new Error('no release');
  return first;
})();
const image = `${release.image}@${release.imageDigest}`;
const place = `${release.image?.replace(/:[^:/]+$/, '')}@${release.imageDigest}`;

class Registry implements EvidenceStore {
  readonly there = new Map<string, Evidence>();

  constructor() {
    const labels = {
      'org.opencontainers.image.revision': release.commit ?? '',
      [`${LABEL_PREFIX}release`]: release.release,
      [`${LABEL_PREFIX}model.digest`]: release.modelDigest ?? '',
    };
    this.add(release.imageDigest ?? '', labels);
    this.add(release.modelDigest ?? '', {});
  }

  private add(digest: string, labels: Record<string, string>) {
    this.there.set(digest, { digest: digest as Digest, labels, layers: [], attestations: [] });
  }

  async of(reference: string): Promise<Evidence | undefined> {
    return this.there.get(/sha256:[0-9a-f]{64}$/.exec(reference)?.[0] ?? '');
  }

  async attest(reference: string, attestations: readonly Attestation[]): Promise<void> {
    const found = await this.of(reference);
    if (!found) throw new Error(`no ${reference}`);
    this.there.set(found.digest, {
      ...found,
      attestations: [...found.attestations, ...JSON.parse(JSON.stringify(attestations))],
    });
  }

  /** Changes what is beside an image. */
  change(digest: string | null, by: (evidence: Evidence) => Evidence): void {
    const found = this.there.get(digest ?? '');
    if (found) this.there.set(found.digest, by(found));
  }
}

async function attested(): Promise<Registry> {
  const registry = new Registry();
  await attestRelease(release, await keySigner(ours.key), registry);
  return registry;
}

const links = {
  'orchestration.trace_id': `00-${release.traceId}-b7ad6b7169203331-01`,
  'resource.opentelemetry.io/cicd.pipeline.run.id': release.release,
  'resource.opentelemetry.io/ml.model.id': release.modelId ?? '',
  'resource.opentelemetry.io/vcs.ref.head.revision': release.commit ?? '',
  'resource.opentelemetry.io/ml.dataset.name': release.dataset?.split('@')[0] ?? '',
  'resource.opentelemetry.io/ml.dataset.version': release.dataset?.split('@')[1] ?? '',
};

/** What a manifest deploys that a release has changed. */
const manifestOf = (digests: readonly string[]): DeployedTemplate => ({
  release: release.release,
  digests,
  template: { metadata: { annotations: { ...links, team: 'ml' } } },
});

const verify = async (
  evidence: EvidenceStore,
  policy: Partial<Policy> = {},
  keys: readonly string[] = [ours.pub],
  committed: readonly string[] | 'no commit' | 'unreadable' = [release.imageDigest ?? ''],
  what = image,
  pod?: PodTemplate,
) =>
  verifyImage(what, {
    evidence,
    signatures: await SignatureVerifier.of({ keys }),
    policy: { ...NO_POLICY, ...policy },
    committed: async (): Promise<Committed> => {
      if (committed === 'no commit') return committed;
      return committed === 'unreadable' ? undefined : [manifestOf(committed)];
    },
    pod,
  });

const failures = (checks: readonly { what: string; result: string }[]) =>
  checks.filter(({ result }) => result === 'failed').map(({ what }) => what);

describe('a release', () => {
  it('attests how model and image came to be, and where it went', () => {
    const statements = statementsOf(release);
    expect(statements.map(({ statement, beside }) => [statement.predicateType, beside])).toEqual([
      [PREDICATE.provenance, release.modelUri?.replace('oci://', '')],
      [PREDICATE.testResult, release.modelUri?.replace('oci://', '')],
      [PREDICATE.provenance, place],
      [PREDICATE.deployment, place],
    ]);
    const text = JSON.stringify(statements);
    for (const fact of [
      release.commit,
      release.modelDigest?.slice(7),
      release.imageDigest?.slice(7),
      release.dataset,
    ])
      expect(text).toContain(fact);
    expect(JSON.stringify(statementsOf(release))).toBe(text);
  });

  it('attests the same by itself, and afterwards out of the lineage store', () => {
    const { record, request, activities } = keptRun('0.1.0/kubernetes-succeeded.json');
    if (!record) throw new Error('no record');
    const prepared = activities.find(({ type }) => type === 'prepareRelease')?.result;
    const { parameters } = prepared as { parameters: Record<string, string> };
    const own = attestedOf({ ...record, request } as ReleaseRecord, request, parameters);
    expect(JSON.stringify(statementsOf(own))).toBe(JSON.stringify(statementsOf(release)));
    const shuffled = { ...release, metrics: { b: 1, a: 2 }, parameters: { z: '1', y: '2' } };
    const other = { ...release, metrics: { a: 2, b: 1 }, parameters: { y: '2', z: '1' } };
    expect(JSON.stringify(statementsOf(shuffled))).toBe(JSON.stringify(statementsOf(other)));
  });

  it('attests nothing of what it did not make', () => {
    expect(statementsOf({ ...release, modelDigest: null, image: null, imageDigest: null })).toEqual([]);
  });

  it('attests of a rollback where it brought what, and nothing of what the earlier one has made', () => {
    const to = { release: 'rel-first' as ReleaseId, traceparent: release.traceparent };
    const rollback = {
      environment: 'production',
      from: { ...to, release: release.release as ReleaseId },
      to,
    };
    const [only, ...more] = statementsOf({ ...release, rollback });
    expect(more).toEqual([]);
    expect(only?.statement).toMatchObject({
      predicateType: PREDICATE.deployment,
      predicate: { release: release.release, bringsBack: 'rel-first' },
    });
  });

  it('attests once, however often it is asked to', async () => {
    const registry = await attested();
    const before = JSON.stringify([...registry.there]);
    const again = await attestRelease(release, await keySigner(ours.key), registry);
    expect(again.every(({ added }) => !added)).toBe(true);
    expect(JSON.stringify([...registry.there])).toBe(before);
  });
});

describe('a verifier', () => {
  it('follows an untouched image back to commit and dataset', async () => {
    const found = await verify(await attested());
    expect(failures(found.checks)).toEqual([]);
    expect(found).toMatchObject({
      verified: true,
      chain: { release: release.release, commit: release.commit, dataset: release.dataset },
    });
  });

  it('believes nobody whose key it does not have', async () => {
    const found = await verify(await attested(), {}, [stranger.pub]);
    expect(found.verified).toBe(false);
    expect((await verify(await attested(), {}, [stranger.pub, ours.pub])).verified).toBe(true);
  });

  it('sees what is not attested at all', async () => {
    expect((await verify(new Registry())).verified).toBe(false);
    const registry = await attested();
    registry.there.delete(release.imageDigest ?? '');
    expect(await verify(registry)).toMatchObject({ verified: false, digest: null });
  });

  it('sees every label that was changed', async () => {
    for (const label of Object.keys(new Registry().there.get(release.imageDigest ?? '')?.labels ?? {})) {
      const registry = await attested();
      registry.change(release.imageDigest, (found) => ({
        ...found,
        labels: { ...found.labels, [label]: 'x' },
      }));
      expect((await verify(registry)).verified, label).toBe(false);
    }
  });

  it('sees every byte of a signed statement, and of its signature, that was changed', async () => {
    const signatures = await SignatureVerifier.of({ keys: [ours.pub] });
    for (const { attestations } of (await attested()).there.values()) {
      for (const { bundle } of attestations) {
        const whole = bundle as { dsseEnvelope: { payload: string; signatures: { sig: string }[] } };
        expect(signatures.open(whole)).toHaveProperty('statement');
        const { payload, signatures: signed } = whole.dsseEnvelope;
        const flipped = (text: string) => {
          const bytes = Buffer.from(text, 'base64');
          return Array.from(bytes, (byte, at) => {
            const changed = Buffer.from(bytes);
            changed[at] = byte ^ 1;
            return changed.toString('base64');
          });
        };
        const forged = [
          ...flipped(payload).map((text) => ({ ...whole.dsseEnvelope, payload: text })),
          ...flipped(signed[0]?.sig ?? '').map((sig) => ({ ...whole.dsseEnvelope, signatures: [{ sig }] })),
        ];
        for (const dsseEnvelope of forged)
          expect(signatures.open({ ...whole, dsseEnvelope })).toHaveProperty('refused');
      }
    }
  });

  it('sees what was changed of an attestation, wherever', async () => {
    const untouched = await attested();
    for (const digest of [release.imageDigest, release.modelDigest]) {
      const count = untouched.there.get(digest ?? '')?.attestations.length ?? 0;
      for (let index = 0; index < count; index += 1) {
        const bundle = untouched.there.get(digest ?? '')?.attestations[index]?.bundle as {
          dsseEnvelope: { payload: string; signatures: { sig: string }[] };
        };
        const { payload, signatures } = bundle.dsseEnvelope;
        const length = Buffer.from(payload, 'base64').length;
        const changed = (text: string, at: number) => {
          const bytes = Buffer.from(text, 'base64');
          bytes[at] = (bytes[at] ?? 0) ^ 1;
          return bytes.toString('base64');
        };
        const places = Array.from({ length: 40 }, (_, step) => Math.floor((step * length) / 40));
        const forged = [
          ...places.map((at) => ({
            ...bundle,
            dsseEnvelope: { ...bundle.dsseEnvelope, payload: changed(payload, at) },
          })),
          { ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, payloadType: 'text/plain' } },
          {
            ...bundle,
            dsseEnvelope: {
              ...bundle.dsseEnvelope,
              signatures: [{ sig: changed(signatures[0]?.sig ?? '', 10) }],
            },
          },
          {},
          null,
          'text',
        ];
        for (const one of forged) {
          const registry = new Registry();
          for (const [of, evidence] of untouched.there) registry.there.set(of, evidence);
          registry.change(digest, (found) => ({
            ...found,
            attestations: found.attestations.map((attestation, at) =>
              at === index ? { ...attestation, bundle: one } : attestation,
            ),
          }));
          expect((await verify(registry)).verified).toBe(false);
        }
      }
    }
  });

  it('sees an attestation that was taken from another image', async () => {
    const registry = await attested();
    const other = statementsOf({ ...release, imageDigest: `sha256:${'f'.repeat(64)}` }).find(({ beside }) =>
      beside.endsWith('f'),
    );
    if (!other) throw new Error('no statement');
    const bundle = await signStatement(other.statement, await keySigner(ours.key));
    registry.change(release.imageDigest, (found) => ({
      ...found,
      attestations: [{ predicateType: PREDICATE.provenance, bundle }],
    }));
    expect((await verify(registry)).verified).toBe(false);
  });

  it('sees that there is no such commit', async () => {
    expect(failures((await verify(await attested(), {}, undefined, 'no commit')).checks)).toEqual([
      'what was committed for production is this image',
    ]);
  });

  it('sees that the committed image is another one', async () => {
    expect(
      failures((await verify(await attested(), {}, [ours.pub], [`sha256:${'e'.repeat(64)}`])).checks),
    ).toEqual(['what was committed for production is this image']);
  });

  it('says what it could not check, which is no failure', async () => {
    const found = await verifyImage(image, {
      evidence: await attested(),
      signatures: await SignatureVerifier.of({ keys: [ours.pub] }),
      policy: NO_POLICY,
    });
    expect(found.verified).toBe(true);
    expect(found.checks.find(({ what }) => what.startsWith('what was committed'))?.result).toBe('unknown');
  });

  it('holds it to a policy', async () => {
    const registry = await attested();
    const pattern = `${release.repository.slice(0, 12)}**`;
    expect(
      (await verify(registry, { repositories: [pattern], metrics: { accuracy: { atLeast: 0.5 } } })).verified,
    ).toBe(true);
    expect(
      failures((await verify(registry, { repositories: ['https://elsewhere.example/**'] })).checks),
    ).toHaveLength(1);
    expect(
      failures((await verify(registry, { metrics: { accuracy: { atLeast: 0.999 } } })).checks),
    ).toHaveLength(1);
    expect(failures((await verify(registry, { metrics: { recall: { atLeast: 0 } } })).checks)).toHaveLength(
      1,
    );
  });
});

describe('a policy', () => {
  it.each([
    ['https://git.example/ml/*', 'https://git.example/ml/digits.git', true],
    ['https://git.example/ml/*', 'https://git.example/ml/a/b.git', false],
    ['https://git.example/**', 'https://git.example/ml/a/b.git', true],
    ['https://git.example/ml/digits.git', 'https://git.example/ml/digitsXgit', false],
  ])('%j and %j: %j', (pattern, text, is) => expect(matches(pattern, text)).toBe(is));

  it('is refused where it says what nobody reads', async () => {
    const file = join(directory, 'policy.yaml');
    writeFileSync(file, 'signers: [ours.pub]\nmetrics: { accuracy: { atLeast: 0.9 } }\n');
    expect(await readPolicy(file)).toMatchObject({
      signers: [ours.pub],
      metrics: { accuracy: { atLeast: 0.9 } },
    });
    writeFileSync(file, 'signers: [ours.pub]\nminAccuracy: 0.9\n');
    await expect(readPolicy(file)).rejects.toMatchObject({ code: 'TL_CONFIG_INVALID' });
    await expect(readPolicy(join(directory, 'none.yaml'))).rejects.toMatchObject({
      code: 'TL_CONFIG_INVALID',
    });
  });
});

describe('a key', () => {
  const [first] = statementsOf(release);
  if (!first) throw new Error('no statement');
  const kinds: [string, string[]][] = [
    ['P-256', EC],
    ['Ed25519', ['-algorithm', 'ED25519']],
  ];
  it.each(kinds)('may be %s', async (name, algorithm) => {
    const { key: secret, pub } = key(name, ...algorithm);
    const bundle = await signStatement(first.statement, await keySigner(secret));
    expect((await SignatureVerifier.of({ keys: [pub] })).open(bundle)).toMatchObject({
      statement: first.statement,
    });
    expect((await SignatureVerifier.of({ keys: [stranger.pub] })).open(bundle)).toHaveProperty('refused');
  });

  it('may not be what some verifiers do not take', async () => {
    const { key: secret } = key('P-384', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384');
    await expect(keySigner(secret)).rejects.toMatchObject({ code: 'TL_CONFIG_INVALID' });
  });

  it('may stay where it is, and sign by a command', async () => {
    const signer = await commandSigner(`openssl dgst -sha256 -sign ${ours.key}`, ours.pub);
    const bundle = await signStatement(first.statement, signer);
    expect((await SignatureVerifier.of({ keys: [ours.pub] })).open(bundle)).toMatchObject({
      statement: first.statement,
    });
    const broken = await commandSigner('false', ours.pub);
    await expect(signStatement(first.statement, broken)).rejects.toThrow(/signing command false failed/i);
  });

  it('that is none is refused, and not shown', async () => {
    const file = join(directory, 'secret.pem');
    writeFileSync(file, 'hunter2');
    const error = await keySigner(file).catch((cause: unknown) => cause);
    expect(error).toMatchObject({ code: 'TL_CONFIG_INVALID' });
    expect(JSON.stringify(error)).not.toContain('hunter2');
  });
});

describe('a pod that runs the image', () => {
  const checked = async (annotations: Record<string, string>, committed?: readonly string[]) =>
    verify(await attested(), {}, undefined, committed, image, { metadata: { annotations } });

  it('is verified with everything that it says of itself', async () => {
    expect(failures((await checked({ ...links, team: 'another' })).checks)).toEqual([]);
  });

  it('is not where a byte of that was changed, or it is not there', { timeout: 60_000 }, async () => {
    for (const [name, value] of Object.entries(links)) {
      const { [name]: _, ...without } = links as Record<string, string>;
      expect((await checked(without)).verified, name).toBe(false);
      for (let at = 0; at < value.length; at += 1) {
        const byte = String.fromCharCode(value.charCodeAt(at) ^ 1);
        const changed = { ...links, [name]: value.slice(0, at) + byte + value.slice(at + 1) };
        expect((await checked(changed)).verified, `${name}, byte ${at}`).toBe(false);
      }
    }
  });

  it('is held to what is attested, too, where the GitOps repository cannot be read', async () => {
    const name = 'resource.opentelemetry.io/ml.dataset.version';
    const found = await verify(await attested(), {}, undefined, 'unreadable', image, {
      metadata: { annotations: { ...links, [name]: 'v9' } },
    });
    expect(failures(found.checks)).toEqual([`the pod’s ${name}`]);
  });
});

describe('a model by itself', () => {
  const model = release.modelUri?.replace('oci://', '') ?? '';
  const check = (registry: EvidenceStore, policy: Partial<Policy> = {}, keys = [ours.pub]) =>
    verify(registry, policy, keys, undefined, model);

  it('is verified back to commit, dataset and gate', async () => {
    const found = await check(await attested());
    expect(failures(found.checks)).toEqual([]);
    expect(found).toMatchObject({
      verified: true,
      digest: release.modelDigest,
      chain: { release: release.release, commit: release.commit, dataset: release.dataset },
    });
    expect(found.chain.model).toMatch(new RegExp(`@${release.modelDigest}$`));
  });

  it('is not where it was signed by another, was not accepted, or the policy wants more', async () => {
    const registry = await attested();
    expect((await check(registry, {}, [stranger.pub])).verified).toBe(false);
    expect((await check(registry, { repositories: ['https://elsewhere.example/*'] })).verified).toBe(false);
    expect((await check(registry, { metrics: { accuracy: { atLeast: 2 } } })).verified).toBe(false);
    registry.change(release.modelDigest, (evidence) => ({
      ...evidence,
      attestations: evidence.attestations.filter(
        ({ predicateType }) => predicateType !== PREDICATE.testResult,
      ),
    }));
    expect(failures((await check(registry)).checks)).toEqual(['the gate has accepted the model']);
  });
});
