// What a release attests, as in-toto statements: how its model was trained, that the gate accepted it, how its image was
// built, and what was deployed. Pure: the same release gives the same bytes, so that a repetition attests nothing new.
//
//   in-toto Attestation Framework, Statement v1
//   SLSA, Build Provenance v1 (https://slsa.dev/spec/v1.0/provenance)
//   in-toto, Test Result v0.1
import type { AttestedRelease } from '../domain/attested.js';
import { digestOf, splitImage } from '../domain/ids.js';

export const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
export const PREDICATE = {
  provenance: 'https://slsa.dev/provenance/v1',
  testResult: 'https://in-toto.io/attestation/test-result/v0.1',
  deployment: 'https://throughline.dev/attestation/deployment/v1',
} as const;
export const BUILD_TYPE = {
  training: 'https://throughline.dev/build/training/v1',
  image: 'https://throughline.dev/build/image/v1',
} as const;
const BUILDER = 'https://throughline.dev/worker';

/** in-toto Attestation Framework, ResourceDescriptor v1. */
export interface Resource {
  readonly name?: string;
  readonly uri?: string;
  readonly digest?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, unknown>>;
}

export interface Statement<Predicate = Readonly<Record<string, unknown>>> {
  readonly _type: typeof STATEMENT_TYPE;
  readonly subject: readonly Resource[];
  readonly predicateType: string;
  readonly predicate: Predicate;
}

/** A statement and the artifact that it lies beside. */
export interface Attestable {
  readonly statement: Statement;
  /** `repository@sha256:…` */
  readonly beside: string;
}

/** Everything that a release can attest; nothing of what it did not come to, and of a rollback where it brought what. */
export function statementsOf(release: AttestedRelease): Attestable[] {
  const { modelDigest, modelUri, imageDigest, image, rollback } = release;
  const model = modelUri?.startsWith('oci://') ? modelUri.slice('oci://'.length) : undefined;
  const statements: Attestable[] = [];
  if (model && modelDigest && !rollback) {
    statements.push({ statement: training(release), beside: model });
    const gate = gateOf(release);
    if (gate) statements.push({ statement: gate, beside: model });
  }
  const built = image && imageDigest ? `${splitImage(image).repository}@${imageDigest}` : undefined;
  if (built) {
    if (!rollback) statements.push({ statement: imageProvenance(release), beside: built });
    for (const one of deployments(release)) statements.push({ statement: one, beside: built });
  }
  return statements;
}

function training(release: AttestedRelease): Statement {
  const { dataset, datasetDigest, training: run, parameters, metrics } = release;
  return statement(modelOf(release), PREDICATE.provenance, {
    buildDefinition: {
      buildType: BUILD_TYPE.training,
      externalParameters: { ...sourceOf(release), dataset, parameters: sorted(parameters) },
      internalParameters: { job: run?.job },
      resolvedDependencies: [
        commitOf(release),
        { name: 'dataset', uri: `dataset:${dataset}`, ...digests(datasetDigest) },
        ...(run?.image ? [{ name: 'trainer', uri: `oci://${run.image}`, ...digests(run.image) }] : []),
      ],
    },
    runDetails: {
      builder: { id: BUILDER },
      metadata: { invocationId: release.release, ...timesOf(run?.startedAt, run?.endedAt) },
      ...(metrics ? { byproducts: [{ name: 'metrics', annotations: sorted(metrics) }] } : {}),
    },
  });
}

/** The gate has accepted it, or there would be no later stage. Undefined where it has not. */
function gateOf(release: AttestedRelease): Statement | undefined {
  const stage = release.stages.find(({ name }) => name === 'evaluate');
  if (stage?.status !== 'SUCCEEDED' || !release.metrics) return undefined;
  return statement(modelOf(release), PREDICATE.testResult, {
    result: 'PASSED',
    configuration: [commitOf(release)],
    passedTests: Object.entries(sorted(release.metrics)).map(([name, value]) => `${name}=${value}`),
    url: release.release,
  });
}

function imageProvenance(release: AttestedRelease): Statement {
  const stage = release.stages.find(({ name }) => name === 'build');
  return statement(imageOf(release), PREDICATE.provenance, {
    buildDefinition: {
      buildType: BUILD_TYPE.image,
      externalParameters: sourceOf(release),
      internalParameters: { modelId: release.modelId },
      resolvedDependencies: [
        commitOf(release),
        { name: 'model', uri: release.modelUri ?? '', ...digests(release.modelDigest) },
        ...release.baseImages.map(({ name, digest }) => ({
          name: 'base',
          uri: `oci://${name}`,
          ...digests(digest),
        })),
      ],
    },
    runDetails: {
      builder: { id: BUILDER },
      metadata: { invocationId: release.release, ...timesOf(stage?.startedAt, stage?.endedAt) },
    },
  });
}

function deployments(release: AttestedRelease): Statement[] {
  return release.deployments
    .filter(({ from, rollback }) => from !== null && !rollback)
    .map(({ environment, commit, from, repository, manifest }) =>
      statement(imageOf(release), PREDICATE.deployment, {
        release: release.release,
        environment,
        gitops: { uri: `git+${repository}`, digest: { gitCommit: commit } },
        manifest,
        deployedAt: from,
        ...(release.rollback ? { bringsBack: release.rollback.to.release } : {}),
      }),
    );
}

/** By name: a database gives them back in an order of its own, and the same release has to give the same bytes. */
function sorted<T>(values: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function statement(
  subject: Resource,
  predicateType: string,
  predicate: Readonly<Record<string, unknown>>,
): Statement {
  return { _type: STATEMENT_TYPE, subject: [subject], predicateType, predicate };
}

const sourceOf = ({ repository, ref, planPath }: AttestedRelease) => ({ repository, ref, plan: planPath });

const commitOf = ({ repository, commit }: AttestedRelease): Resource => ({
  name: 'source',
  uri: `git+${repository}@${commit}`,
  digest: { gitCommit: commit ?? '' },
});

const modelOf = ({ modelUri, modelDigest, modelId }: AttestedRelease): Resource => ({
  name: modelId ?? '',
  uri: modelUri ?? '',
  ...digests(modelDigest),
});

const imageOf = ({ image, imageDigest }: AttestedRelease): Resource => ({
  name: image ?? '',
  ...digests(imageDigest),
});

function digests(text: string | null | undefined): Pick<Resource, 'digest'> {
  const sha256 = digestOf(text)?.slice('sha256:'.length);
  return sha256 ? { digest: { sha256 } } : {};
}

const timesOf = (startedOn: string | null | undefined, finishedOn: string | null | undefined) => ({
  ...(startedOn ? { startedOn } : {}),
  ...(finishedOn ? { finishedOn } : {}),
});
