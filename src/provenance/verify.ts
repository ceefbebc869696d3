// Whether an image is what its attestations say, back to the commit and the dataset. Works from a registry and a public
// key alone: nothing that Throughline keeps is believed, nor asked.
import type { Committed } from '../activities/gitops/history.js';
import type { DeployedTemplate } from '../activities/gitops/manifest.js';
import type { Evidence, EvidenceStore } from '../activities/registry/evidence.js';
import { type Digest, isDigest } from '../domain/ids.js';
import { matches } from '../domain/patterns.js';
import type { PodTemplate } from '../kubernetes/objects.js';
import { ATTR, LABEL_PREFIX, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../telemetry/attributes.js';
import type { Policy } from './policy.js';
import type { SignatureVerifier } from './signing.js';
import { BUILD_TYPE, PREDICATE, type Resource, type Statement } from './statements.js';

export interface Check {
  readonly what: string;
  /** `unknown` where it could not be checked: that is said, and is no failure. */
  readonly result: 'passed' | 'failed' | 'unknown';
  readonly detail: string;
}

export interface Verification {
  /** The image, or the model, that was looked at. */
  readonly image: string;
  readonly digest: Digest | null;
  readonly verified: boolean;
  readonly checks: readonly Check[];
  /** What the chain leads to, as far as it holds. */
  readonly chain: {
    readonly release?: string | undefined;
    readonly repository?: string | undefined;
    readonly commit?: string | undefined;
    readonly model?: string | undefined;
    readonly modelId?: string | undefined;
    readonly dataset?: string | undefined;
    readonly metrics?: Readonly<Record<string, unknown>> | undefined;
  };
}

export interface VerifyOptions {
  readonly evidence: EvidenceStore;
  readonly signatures: SignatureVerifier;
  readonly policy: Policy;
  /** What the committed manifest deploys. */
  readonly committed?: (repository: string, commit: string, manifest: string) => Promise<Committed>;
  /** What runs the image, and says of itself what it is. */
  readonly pod?: PodTemplate | undefined;
}

/** An image, or a model: which of the two it is says what is attested of it. */
export async function verifyImage(image: string, options: VerifyOptions): Promise<Verification> {
  const verifying = new Verifying(options);
  const found = await options.evidence.of(image);
  if (!found) {
    verifying.failed('it is there', `the registry has no ${image}`);
    return verifying.result(image, null);
  }
  await verifying.artifact(image, found);
  return verifying.result(image, found.digest);
}

/** The parts of a SLSA provenance that are looked at; anything may be missing of what others have made. */
interface Provenance {
  readonly buildDefinition?: {
    readonly buildType?: string;
    readonly internalParameters?: { readonly modelId?: string };
    readonly externalParameters?: { readonly repository?: string; readonly dataset?: string };
    readonly resolvedDependencies?: readonly Resource[];
  };
  readonly runDetails?: {
    readonly metadata?: { readonly invocationId?: string };
    readonly byproducts?: readonly Resource[];
  };
}

class Verifying {
  private readonly checks: Check[] = [];
  private chain: Verification['chain'] = {};

  constructor(private readonly options: VerifyOptions) {}

  result(image: string, digest: Digest | null): Verification {
    const verified = this.checks.every(({ result }) => result !== 'failed');
    return { image, digest, verified, checks: this.checks, chain: this.chain };
  }

  passed(what: string, detail: string): void {
    this.checks.push({ what, result: 'passed', detail });
  }

  failed(what: string, detail: string): void {
    this.checks.push({ what, result: 'failed', detail });
  }

  private unknown(what: string, detail: string): void {
    this.checks.push({ what, result: 'unknown', detail });
  }

  private equal(what: string, is: string | undefined, should: string | undefined): void {
    if (is !== undefined && is === should) this.passed(what, is);
    else this.failed(what, `${is ?? 'nothing'}, and should be ${should ?? 'something'}`);
  }

  async artifact(place: string, found: Evidence): Promise<void> {
    const statements = this.statements('the artifact', found);
    const trained = statements.some(
      ({ predicateType, predicate }) =>
        predicateType === PREDICATE.provenance &&
        (predicate as Provenance).buildDefinition?.buildType === BUILD_TYPE.training,
    );
    if (trained) this.trainedModel(place, found, statements);
    else await this.image(found, statements);
  }

  /** A model by itself: everything that is known of it is in its own attestations. */
  private trainedModel(place: string, found: Evidence, statements: readonly Statement[]): void {
    const provenance = this.provenance('how the model was trained', statements, BUILD_TYPE.training);
    if (!provenance) return;
    const repository = provenance.buildDefinition?.externalParameters?.repository;
    this.chain = {
      release: provenance.runDetails?.metadata?.invocationId,
      repository,
      commit: dependency(provenance, 'source')?.digest?.gitCommit,
      model: `${place.replace(/(@sha256:.*|:[^/]*)$/, '')}@${found.digest}`,
    };
    this.repository(repository);
    this.dataset(provenance);
    this.gate(statements, provenance);
  }

  private async image(found: Evidence, statements: readonly Statement[]): Promise<void> {
    const provenance = this.provenance('how the image was built', statements, BUILD_TYPE.image);
    if (!provenance) return;
    const release = provenance.runDetails?.metadata?.invocationId;
    const source = dependency(provenance, 'source');
    const model = dependency(provenance, 'model');
    const commit = source?.digest?.gitCommit;
    const repository = provenance.buildDefinition?.externalParameters?.repository;
    const modelId = provenance.buildDefinition?.internalParameters?.modelId;
    this.chain = { release, repository, commit, modelId };
    this.equal(
      'the image names the commit that it was built at',
      found.labels['org.opencontainers.image.revision'],
      commit,
    );
    this.equal('the image names the release that built it', found.labels[`${LABEL_PREFIX}release`], release);
    this.equal(
      'the image names the model that it holds',
      found.labels[`${LABEL_PREFIX}model.digest`],
      digestOf(model),
    );
    this.repository(repository);
    await this.model(model, { release, commit });
    await this.deployments(statements, found.digest);
    this.podSays();
  }

  private async model(
    model: Resource | undefined,
    of: { release?: string | undefined; commit?: string | undefined },
  ) {
    const digest = digestOf(model);
    const place = model?.uri?.startsWith('oci://') ? model.uri.slice('oci://'.length) : undefined;
    if (!digest || !place) {
      this.failed(
        'how the model was trained',
        'the model is in no registry, so that nothing can lie beside it',
      );
      return;
    }
    const found = await this.options.evidence.of(place);
    if (!found) {
      this.failed('the model is there', `the registry has no ${place}`);
      return;
    }
    this.equal('the model is the one that the image was built with', found.digest, digest);
    this.chain = { ...this.chain, model: place };
    const statements = this.statements('the model', found);
    const provenance = this.provenance('how the model was trained', statements, BUILD_TYPE.training);
    if (!provenance) return;
    this.equal(
      'one release trained the model and built the image',
      provenance.runDetails?.metadata?.invocationId,
      of.release,
    );
    this.equal(
      'the model was trained at the commit of the image',
      dependency(provenance, 'source')?.digest?.gitCommit,
      of.commit,
    );
    this.dataset(provenance);
    this.gate(statements, provenance);
  }

  private dataset(provenance: Provenance): void {
    const name = provenance.buildDefinition?.externalParameters?.dataset;
    const digest = digestOf(dependency(provenance, 'dataset'));
    this.chain = { ...this.chain, dataset: name };
    if (digest) this.passed('the dataset is named by its content', `${name} ${digest}`);
    else if (this.options.policy.datasetDigest === 'required')
      this.failed(
        'the dataset is named by its content',
        `${name}, without a digest; the policy requires one`,
      );
    else this.unknown('the dataset is named by its content', `${name}: training reported no digest of it`);
  }

  private gate(statements: readonly Statement[], provenance: Provenance): void {
    const metrics = provenance.runDetails?.byproducts?.find(({ name }) => name === 'metrics')?.annotations;
    this.chain = { ...this.chain, metrics };
    const results = statements.filter(({ predicateType }) => predicateType === PREDICATE.testResult);
    const passed = results.some(({ predicate }) => predicate.result === 'PASSED');
    if (passed) this.passed('the gate has accepted the model', named(metrics));
    else
      this.failed(
        'the gate has accepted the model',
        results.length > 0 ? 'it has not' : 'nobody has attested that',
      );
    for (const [name, { atLeast }] of Object.entries(this.options.policy.metrics)) {
      const value = metrics?.[name];
      const enough = typeof value === 'number' && value >= atLeast;
      const detail = `${value ?? 'not measured'}, and the policy wants ${atLeast} at least`;
      if (enough) this.passed(`${name} is good enough`, detail);
      else this.failed(`${name} is good enough`, detail);
    }
  }

  private repository(repository: string | undefined): void {
    const { repositories } = this.options.policy;
    if (!repositories) return;
    const what = 'the source is a repository that the policy allows';
    if (repository && repositories.some((pattern) => matches(pattern, repository)))
      this.passed(what, repository);
    else this.failed(what, `${repository ?? 'no repository'}, and not one of ${repositories.join(', ')}`);
  }

  private async deployments(statements: readonly Statement[], digest: Digest): Promise<void> {
    const all = statements.filter(({ predicateType }) => predicateType === PREDICATE.deployment);
    if (all.length === 0) this.unknown('where it was deployed', 'nobody has attested a deployment');
    for (const { predicate } of all) {
      const { environment, gitops, manifest } = predicate as {
        environment?: string;
        gitops?: Resource;
        manifest?: string;
      };
      const what = `what was committed for ${environment} is this image`;
      const commit = gitops?.digest?.gitCommit;
      const repository = gitops?.uri?.replace(/^git\+/, '');
      const committed =
        repository && commit && manifest
          ? await this.options.committed?.(repository, commit, manifest)
          : undefined;
      if (!committed) this.unknown(what, `${repository} cannot be read here; attested is commit ${commit}`);
      else if (committed === 'no commit') this.failed(what, `${repository} has no commit ${commit}`);
      else this.committed(what, `${manifest} at ${commit}`, committed, digest);
    }
  }

  private committed(
    what: string,
    where: string,
    templates: readonly DeployedTemplate[],
    digest: Digest,
  ): void {
    const ours = templates.find(({ digests }) => digests.includes(digest));
    if (!ours) {
      const found = templates.flatMap(({ digests }) => digests).join(', ') || 'no image by digest';
      this.failed(what, `${where} has ${found}`);
      return;
    }
    this.passed(what, where);
    this.equal(`${where} names the release`, ours.release, this.chain.release);
    const { pod } = this.options;
    if (!pod) return;
    // Everything that was committed for the links back, to the byte: the trace's context, too.
    const wrong = Object.entries(ours.template.metadata?.annotations ?? {}).filter(
      ([name, value]) => isLink(name) && pod.metadata?.annotations?.[name] !== value,
    );
    if (wrong.length === 0) this.passed('the pod says what was committed', where);
    for (const [name, value] of wrong)
      this.failed(
        'the pod says what was committed',
        `${name} is ${pod.metadata?.annotations?.[name] ?? 'not there'}, and should be ${value}`,
      );
  }

  /** The pod's links back, held to what is attested: that needs no GitOps repository. */
  private podSays(): void {
    const { pod } = this.options;
    if (!pod) return;
    const { release, commit, modelId, dataset } = this.chain;
    const version = dataset?.lastIndexOf('@') ?? -1;
    const attested: Readonly<Record<string, string | undefined>> = {
      [ATTR.pipelineRunId]: release,
      [ATTR.headRevision]: commit,
      [ATTR.modelId]: modelId,
      [ATTR.datasetName]: dataset?.slice(0, version),
      [ATTR.datasetVersion]: dataset?.slice(version + 1),
    };
    for (const [name, value] of Object.entries(attested)) {
      if (value === undefined) continue;
      const annotation = `${RESOURCE_ANNOTATION_PREFIX}${name}`;
      this.equal(`the pod’s ${annotation}`, pod.metadata?.annotations?.[annotation], value);
    }
  }

  /** The statements that are signed and about this very artifact. What is not to be believed is said. */
  private statements(what: string, { digest, attestations }: Evidence): Statement[] {
    const statements: Statement[] = [];
    for (const { predicateType, bundle } of attestations) {
      const opened = this.options.signatures.open(bundle);
      const label = `the attestation ${predicateType} of ${what}`;
      if ('refused' in opened) this.failed(label, opened.refused);
      else if (!opened.statement.subject.some((subject) => digestOf(subject) === digest))
        this.failed(label, 'it is signed, and about something else');
      else statements.push(opened.statement);
    }
    const count = `${statements.length} of ${attestations.length}`;
    if (statements.length > 0) this.passed(`attestations of ${what} are signed, and about it`, count);
    return statements;
  }

  private provenance(
    what: string,
    statements: readonly Statement[],
    buildType: string,
  ): Provenance | undefined {
    const found = statements
      .filter(({ predicateType }) => predicateType === PREDICATE.provenance)
      .map(({ predicate }) => predicate as Provenance)
      .filter(({ buildDefinition }) => buildDefinition?.buildType === buildType);
    const [first, ...others] = found;
    if (!first) {
      this.failed(what, 'nobody has attested that with a key that is trusted here');
      return undefined;
    }
    if (others.some((other) => JSON.stringify(other) !== JSON.stringify(first))) {
      this.failed(what, `${found.length} attestations contradict each other`);
      return undefined;
    }
    this.passed(what, first.runDetails?.metadata?.invocationId ?? '');
    return first;
  }
}

/** An annotation that a release writes. */
const isLink = (name: string) => name === TRACE_ANNOTATION || name.startsWith(RESOURCE_ANNOTATION_PREFIX);

const dependency = ({ buildDefinition }: Provenance, name: string) =>
  buildDefinition?.resolvedDependencies?.find((one) => one.name === name);

function digestOf(resource: Resource | undefined): Digest | undefined {
  const digest = `sha256:${resource?.digest?.sha256}`;
  return isDigest(digest) ? digest : undefined;
}

const named = (values: Readonly<Record<string, unknown>> | undefined) =>
  Object.entries(values ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
