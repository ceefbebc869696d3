// Looks at what a target says and runs: its manifest in the GitOps repository, its workload and pods in the cluster, the
// attestations of its image. Only reads; what cannot be reached is said, and is no drift.
import type { Drift, DriftCheck, ExpectedState } from '../../domain/drift.js';
import { messageOf } from '../../domain/errors.js';
import { splitImage } from '../../domain/ids.js';
import { redact } from '../../domain/urls.js';
import { ApiError, type KubernetesApi, resourcePath } from '../../kubernetes/api.js';
import { type Deployment, type Pod, selectorOf, WORKLOADS } from '../../kubernetes/objects.js';
import { NO_POLICY, type Policy } from '../../provenance/policy.js';
import type { SignatureVerifier } from '../../provenance/signing.js';
import { type Check, type Verification, verifyImage } from '../../provenance/verify.js';
import type { SyncOptions } from '../argocd/watcher.js';
import { committedTemplates, type ManifestHistory, manifestHistory } from '../gitops/history.js';
import type { EvidenceStore } from '../registry/evidence.js';
import { differences, podDifferences, templateOf } from './compare.js';

export interface DriftCheckerDependencies {
  /** Where mirrors of git repositories lie. */
  readonly cache: string;
  readonly api?: KubernetesApi | undefined;
  readonly evidence?: EvidenceStore | undefined;
  /** Who may have signed. */
  readonly signatures?: SignatureVerifier | undefined;
  readonly policy?: Policy | undefined;
}

type HistoryOf = (state: ExpectedState) => Promise<ManifestHistory>;

/** Where something could not be looked at. */
class Unchecked extends Error {}

export class DriftChecker {
  constructor(private readonly dependencies: DriftCheckerDependencies) {}

  /** Of a branch that several targets lie in, one state is read. */
  async check(
    states: readonly ExpectedState[],
    { signal, report }: Pick<SyncOptions, 'signal' | 'report'>,
  ): Promise<DriftCheck[]> {
    const histories = new Map<string, Promise<ManifestHistory>>();
    const historyOf = ({ repository, branch }: ExpectedState) => {
      const key = JSON.stringify([repository, branch]);
      const known =
        histories.get(key) ?? manifestHistory(this.dependencies.cache, repository, branch, signal);
      histories.set(key, known);
      return known;
    };
    const checks: DriftCheck[] = [];
    for (const state of states) {
      report(`looking at ${state.model} in ${state.environment}`);
      checks.push(await this.target(state, historyOf, signal));
    }
    return checks;
  }

  private async target(
    expected: ExpectedState,
    historyOf: HistoryOf,
    signal: AbortSignal,
  ): Promise<DriftCheck> {
    const { environment, model, repository, branch, manifest, release } = expected;
    const target = { environment, model, repository, branch, manifest, release };
    if (expected.deploying)
      return { ...target, drifts: [], unchecked: [`all of it: ${expected.deploying} is being deployed`] };
    const looks = {
      'the GitOps repository': () => this.manifest(expected, historyOf),
      'the cluster': () => this.cluster(expected, signal),
      attestations: () => this.attestations(expected, signal),
    };
    const drifts: Drift[] = [];
    const unchecked: string[] = [];
    for (const [name, look] of Object.entries(looks)) {
      try {
        drifts.push(...(await look()));
      } catch (error) {
        signal.throwIfAborted();
        unchecked.push(`${name}: ${redact(messageOf(error))}`);
      }
    }
    return { ...target, drifts, unchecked };
  }

  private async manifest(expected: ExpectedState, historyOf: HistoryOf): Promise<Drift[]> {
    const { manifest, release } = expected;
    const history = await historyOf(expected);
    const templates = await history.deployed(manifest, history.tip);
    const where = `${manifest} at ${history.tip.slice(0, 12)}`;
    const template = templateOf(
      templates.map((one) => one.template),
      expected,
    );
    if (!template)
      return [{ what: 'missing', where, expected: release ?? 'a release', found: 'no workload of it' }];
    if (release === null)
      return [
        {
          what: 'image',
          where,
          expected: 'an image that a release has made',
          found: template.spec?.containers?.map(({ image }) => image ?? '').join(', ') ?? '',
        },
      ];
    const names = templates.find((one) => one.template === template)?.namesModel ?? true;
    return differences(where, template, expected, names);
  }

  private async cluster(expected: ExpectedState, signal: AbortSignal): Promise<Drift[]> {
    const { api } = this.dependencies;
    const { workload: named, release } = expected;
    if (release === null) return []; // said of the manifest
    if (!api) throw new Unchecked('this worker has none (THROUGHLINE_RUNTIME)');
    const plural = WORKLOADS[named?.kind ?? ''];
    if (!named || !plural) throw new Unchecked('it is not known which workload it was rolled out to');
    const { kind, namespace, name } = named;
    const where = `${kind} ${namespace}/${name}`;
    let workload: Deployment;
    try {
      workload = await api.get<Deployment>(resourcePath('apps/v1', namespace, plural, name), {}, signal);
    } catch (error) {
      if (!(error instanceof ApiError && error.code === 404)) throw error;
      return [{ what: 'missing', where, expected: release, found: 'no such workload' }];
    }
    const { items } = await api.get<{ items: Pod[] }>(
      resourcePath('v1', namespace, 'pods'),
      { labelSelector: selectorOf(workload) },
      signal,
    );
    const running = items.filter(
      ({ metadata, status }) => !metadata.deletionTimestamp && status?.phase === 'Running',
    );
    return [
      ...differences(where, workload.spec.template ?? {}, expected),
      ...running.flatMap((pod) => podDifferences(pod, expected)),
    ];
  }

  /** Which checks of an image's attestations fail. Throws where nobody is known who may have signed. */
  async failedAttestations(image: string, digest: string, signal: AbortSignal): Promise<readonly Check[]> {
    const { checks } = await this.verified(image, digest, signal);
    return checks.filter(({ result }) => result === 'failed');
  }

  private async verified(
    image: string,
    digest: string,
    signal: AbortSignal,
  ): Promise<Verification & { readonly reference: string }> {
    const { evidence, signatures, cache, policy = NO_POLICY } = this.dependencies;
    if (!evidence || !signatures)
      throw new Unchecked(
        'this worker knows nobody who may have signed (THROUGHLINE_SIGNING_KEY, THROUGHLINE_DRIFT_POLICY)',
      );
    const reference = `${splitImage(image).repository}@${digest}`;
    const verification = await verifyImage(reference, {
      evidence,
      signatures,
      policy,
      committed: (repository, commit, manifest) =>
        committedTemplates(cache, repository, commit, manifest, signal),
    });
    return { ...verification, reference };
  }

  private async attestations(expected: ExpectedState, signal: AbortSignal): Promise<Drift[]> {
    const { release, image, imageDigest, modelDigest } = expected;
    if (release === null || !image || !imageDigest) return [];
    const { reference, checks, chain } = await this.verified(image, imageDigest, signal);
    const drifts = checks
      .filter(({ result }) => result === 'failed')
      .map(
        ({ what, detail }): Drift => ({
          what: 'attestation',
          where: reference,
          expected: what,
          found: detail,
        }),
      );
    if (drifts.length > 0) return drifts;
    if (chain.release !== release)
      drifts.push({
        what: 'attestation',
        where: reference,
        expected: release,
        found: `it is attested to be of ${chain.release}`,
      });
    if (modelDigest && !chain.model?.endsWith(modelDigest))
      drifts.push({ what: 'model', where: reference, expected: modelDigest, found: chain.model ?? 'none' });
    return drifts;
  }
}
