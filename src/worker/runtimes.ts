// Which adapters stand behind the ports: this machine's, or a cluster's. The only place that knows both.
import { ArgoCdSyncWatcher } from '../activities/argocd/argocd.js';
import type { SyncWatcher } from '../activities/argocd/watcher.js';
import type { ImageBuilder } from '../activities/build/builder.js';
import { BuildKitImageBuilder } from '../activities/build/buildkit.js';
import { LocalImageBuilder } from '../activities/build/local.js';
import { DriftChecker } from '../activities/drift/checker.js';
import { Forges } from '../activities/forge/index.js';
import type { GitOpsRepository } from '../activities/gitops/change.js';
import { GitGitOpsRepository } from '../activities/gitops/writer.js';
import type { EvidenceStore } from '../activities/registry/evidence.js';
import { OciProgram, OciProgramEvidence, OciProgramRegistry } from '../activities/registry/oci-program.js';
import type { Registry } from '../activities/registry/registry.js';
import { gitSource, type ReleaseSource } from '../activities/source/prepare.js';
import { KubernetesJobRunner } from '../activities/training/kubernetes/runner.js';
import { TrainingWatches } from '../activities/training/kubernetes/watches.js';
import { LocalJobRunner } from '../activities/training/local.js';
import type { JobRunner } from '../activities/training/runner.js';
import { DeploymentVerifier, type Verifier } from '../activities/verify/index.js';
import { ConfiguredGitAccess, checkSigning, useGitAccess } from '../git/index.js';
import { KubernetesApi } from '../kubernetes/api.js';
import { type Allowed, allowsVerifyUrl, type ServerConfiguration } from '../policy/index.js';
import { NO_POLICY, readPolicy } from '../provenance/policy.js';
import { publicKeyOf, SignatureVerifier, type StatementSigner, signerOf } from '../provenance/signing.js';
import type { Logger } from '../telemetry/log.js';
import { gitCacheOf, type WorkerConfig } from './config.js';

export interface Runtime {
  readonly adapters: {
    readonly source: ReleaseSource;
    readonly runner: JobRunner;
    readonly builder: ImageBuilder;
    readonly gitops: GitOpsRepository;
    /** Which forge keeps a GitOps repository, where deployments go by pull requests. */
    readonly forges: Forges;
    readonly registry?: Registry;
    readonly sync?: SyncWatcher;
    /** Where there is a registry, and something to sign with. */
    readonly signer?: StatementSigner | undefined;
    readonly evidence?: EvidenceStore | undefined;
    readonly verifier: Verifier;
    readonly drift: DriftChecker;
  };
  close(): Promise<void>;
}

/** What the worker's settings ask for. */
export async function runtimeOf(
  config: WorkerConfig,
  configuration: ServerConfiguration,
  log: Logger,
): Promise<Runtime> {
  const { git } = configuration;
  const access = new ConfiguredGitAccess(git.access);
  await access.check();
  if (git.signing) await checkSigning(git.signing);
  useGitAccess(access);
  return config.runtime === 'kubernetes'
    ? kubernetesRuntime(config, configuration, log)
    : localRuntime(config, configuration);
}

const gitopsOf = ({ data, gitIdentity }: WorkerConfig, { git }: ServerConfiguration) =>
  new GitGitOpsRepository(gitCacheOf(data), { ...gitIdentity, signing: git.signing });

/** `defaultNamespace` is where Jobs go whose manifest names none. */
const sourceOf = ({ data }: WorkerConfig, allow: Allowed, defaultNamespace?: string) =>
  gitSource(gitCacheOf(data), { allow, defaultNamespace });

const verifierOf = (runner: JobRunner, allow: Allowed) =>
  new DeploymentVerifier(runner, {
    url: (url) => allowsVerifyUrl(allow, url),
    everything: allow.verifyUrls === undefined,
  });

export function localRuntime(config: WorkerConfig, configuration: ServerConfiguration): Runtime {
  const { allow } = configuration;
  const { data, workloadTelemetry } = config;
  const runner = new LocalJobRunner({ data, workloadTelemetry, backoffSeconds: config.jobBackoffSeconds });
  return {
    adapters: {
      source: sourceOf(config, allow),
      runner,
      verifier: verifierOf(runner, allow),
      builder: new LocalImageBuilder({
        data,
        workloadTelemetry,
        builder: config.builder,
        output: config.imageOutput,
        contexts: config.buildContexts,
        storage: config.buildahStorage,
        insecureRegistry: config.insecureRegistry,
      }),
      gitops: gitopsOf(config, configuration),
      forges: new Forges(configuration.forges),
      drift: new DriftChecker({ cache: gitCacheOf(data) }),
    },
    async close() {},
  };
}

/** Whom a look for drift believes: as its policy says, else what this worker signs with. */
export async function trustOf({ driftPolicy, signing }: Pick<WorkerConfig, 'driftPolicy' | 'signing'>) {
  const policy = driftPolicy ? await readPolicy(driftPolicy) : NO_POLICY;
  const { signers, identities, trustedRoot } = policy;
  const named = signers.length > 0 || identities.length > 0;
  const own = signing && publicKeyOf(signing);
  if (!named && own === undefined) return { policy };
  const trusted = named ? { keys: signers, identities, trustedRoot } : { keys: own ? [own] : [] };
  return { policy, signatures: await SignatureVerifier.of(trusted) };
}

async function kubernetesRuntime(
  config: WorkerConfig,
  configuration: ServerConfiguration,
  log: Logger,
): Promise<Runtime> {
  const { allow } = configuration;
  const { kubernetes, workloadTelemetry } = config;
  const api = await KubernetesApi.fromEnvironment();
  const namespace = kubernetes.jobNamespace ?? api.namespace;
  const watches = new TrainingWatches(api, log);
  const registry = new OciProgramRegistry(kubernetes.ociProgram);
  const evidence = new OciProgramEvidence(new OciProgram(kubernetes.ociProgram));
  const signer = config.signing && (await signerOf(config.signing));
  const trust = await trustOf(config);
  const gitops = gitopsOf(config, configuration);
  const sync = new ArgoCdSyncWatcher(api, gitops, log);
  const { ociImage, registrySecret, registryCertificates, handoverSeconds } = kubernetes;
  const runner = new KubernetesJobRunner(api, watches, {
    namespace,
    workloadTelemetry,
    podStartSeconds: kubernetes.podStartSeconds,
    gitCache: gitCacheOf(config.data),
    handover: ociImage
      ? {
          image: ociImage,
          secret: registrySecret,
          certificates: registryCertificates,
          seconds: handoverSeconds,
        }
      : undefined,
  });
  return {
    adapters: {
      source: sourceOf(config, allow, namespace),
      runner,
      verifier: verifierOf(runner, allow),
      builder: new BuildKitImageBuilder(registry, {
        ...kubernetes.buildkit,
        contexts: config.buildContexts,
        insecureRegistry: config.insecureRegistry,
        gitCache: gitCacheOf(config.data),
      }),
      gitops,
      forges: new Forges(configuration.forges),
      registry,
      sync,
      signer,
      evidence,
      drift: new DriftChecker({ cache: gitCacheOf(config.data), api, evidence, ...trust }),
    },
    async close() {
      watches.stop();
      sync.stop();
      await api.close();
    },
  };
}
