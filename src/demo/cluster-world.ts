// The demo on the local cluster (cluster/): Keras trains in a pod, BuildKit builds and pushes, Argo CD syncs, predictions
// go to the pods, and the link is found in Jaeger. Runs in the cluster's network, with the worker's own account.
import { randomBytes } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { ThroughlineError } from '../domain/errors.js';
import { ApiError, KubernetesApi, resourcePath } from '../kubernetes/api.js';
import type { Pod } from '../kubernetes/objects.js';
import { jaegerTrace } from '../telemetry/backends.js';
import { makeRepositories } from './repositories.js';
import type { World } from './world.js';

/** What `npm run cluster -- up --json` prints, as far as the demo needs it. */
const stateSchema = z.object({
  name: z.string(),
  kubernetes: z.object({ kubeconfig: z.string() }),
  worker: z.object({ kubeconfig: z.string() }),
  kubectl: z.string(),
  buildctl: z.string(),
  oci: z.object({ program: z.string(), image: z.string() }),
  namespaces: z.object({ argocd: z.string(), training: z.string(), serving: z.string() }),
  certificateAuthority: z.string(),
  registry: z.object({ address: z.string(), dockerConfig: z.string() }),
  git: z.object({ url: z.string(), directory: z.string(), config: z.string() }),
  buildkit: z.object({
    address: z.string(),
    certificate: z.string(),
    key: z.string(),
    program: z.string(),
  }),
  otlp: z.object({ grpc: z.string() }),
  jaeger: z.object({ query: z.string(), queryInside: z.string() }),
  baseImages: z.record(z.string(), z.string()),
  logs: z.string(),
  file: z.string(),
});

export type ClusterState = z.infer<typeof stateSchema>;

export async function readClusterState(path: string): Promise<ClusterState> {
  return stateSchema.parse(JSON.parse(await readFile(path, 'utf8')));
}

/** What a worker needs to know to run releases on the cluster. */
export function clusterEnvironment(state: ClusterState): NodeJS.ProcessEnv {
  const { buildkit } = state;
  return {
    THROUGHLINE_RUNTIME: 'kubernetes',
    KUBECONFIG: state.worker.kubeconfig,
    THROUGHLINE_JOB_NAMESPACE: state.namespaces.training,
    THROUGHLINE_OCI_PROGRAM: state.oci.program,
    THROUGHLINE_OCI_IMAGE: state.oci.image,
    THROUGHLINE_REGISTRY_SECRET: 'registry',
    THROUGHLINE_REGISTRY_CA: 'registry-ca',
    THROUGHLINE_BUILDKIT_PROGRAM: buildkit.program,
    THROUGHLINE_BUILDKIT_ADDRESS: buildkit.address,
    THROUGHLINE_BUILDKIT_TLS_CA: state.certificateAuthority,
    THROUGHLINE_BUILDKIT_TLS_CERT: buildkit.certificate,
    THROUGHLINE_BUILDKIT_TLS_KEY: buildkit.key,
    THROUGHLINE_BUILD_CONTEXTS: Object.entries(state.baseImages)
      .map(([base, image]) => `${base}=docker-image://${image}`)
      .join(' '),
    DOCKER_CONFIG: state.registry.dockerConfig,
    SSL_CERT_FILE: state.certificateAuthority,
    GIT_CONFIG_GLOBAL: state.git.config,
    GIT_SSL_CAINFO: state.certificateAuthority, // wins over the configuration, where the machine sets it
    OTEL_EXPORTER_OTLP_ENDPOINT: state.otlp.grpc,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    PATH: `${dirname(state.buildctl)}:${process.env.PATH}`,
  };
}

export interface ClusterWorldOptions {
  readonly state: ClusterState;
  readonly accuracy: number | undefined;
  /** Ports that are reached from outside of the cluster's network too. */
  readonly ports: { readonly gateway: number; readonly temporal: number; readonly ui: number };
  readonly undo: (() => unknown)[];
}

export async function clusterWorld({ state, accuracy, ports, undo }: ClusterWorldOptions): Promise<World> {
  const api = await KubernetesApi.fromEnvironment(state.kubernetes.kubeconfig);
  undo.push(() => api.close());
  const run = `demo-${randomBytes(4).toString('hex')}`;
  const directory = join(state.git.directory, run);
  const repositories = await makeRepositories(directory, {
    accuracy,
    collector: state.otlp.grpc,
    registry: state.registry.address,
    urlOf: (name) => `${state.git.url}/${run}/${name}`,
  });
  undo.push(() => rm(directory, { recursive: true, force: true }));
  await applyApplication(api, state, repositories.gitopsUrl);
  undo.push(() => removeApplication(api, state));
  return {
    repositories,
    arguments: ['--port', ports.gateway, '--temporal-port', ports.temporal, '--ui-port', ports.ui].map(
      String,
    ),
    env: { ...clusterEnvironment(state), THROUGHLINE_JAEGER_URL: state.jaeger.queryInside },
    async serve({ deployments: [deployment] }) {
      const pods = await podsOf(api, state.namespaces.serving, deployment?.synced?.pods ?? []);
      return {
        description: pods.map(({ metadata }) => `${metadata.namespace}/${metadata.name}`).join(', '),
        urls: pods.map(({ status }) => `http://${status?.podIP}:8080`),
        pids: [],
        async stop() {}, // Argo CD's to end: see removeApplication
      };
    },
    trace: (id) => jaegerTrace(state.jaeger.queryInside, id),
    facts: ({ training, deployments: [deployment] }) => ({
      job: training?.job ?? null,
      pods: [...(training?.pods ?? []).map(({ name }) => name), ...(deployment?.synced?.pods ?? [])],
      application: deployment?.synced?.application ?? null,
      trainingPods: (training?.pods ?? []).map(({ name }) => name),
      servingPods: deployment?.synced?.pods ?? [],
    }),
    chain: ({ training, deployments: [deployment] }) => [
      [
        'training pods',
        (training?.pods ?? []).map(({ name, end }) => `${name} (${end ?? 'running'})`).join(', '),
      ],
      ['trainer', training?.image ?? ''],
      ['Application', `${deployment?.synced?.application} at ${deployment?.synced?.revision.slice(0, 12)}`],
      ['serving pods', deployment?.synced?.pods.join(', ') ?? ''],
    ],
    kept: () => ({
      lines: [
        `cluster      ${state.kubectl} --kubeconfig ${state.kubernetes.kubeconfig} get jobs,pods,applications -A`,
        `Jaeger       ${state.jaeger.query}/api/traces/TRACE`,
      ],
      end: ['npm run cluster -- down'],
    }),
  };
}

/** The Application of examples/digits/gitops, for this run's repository. */
async function applyApplication(api: KubernetesApi, state: ClusterState, repoURL: string): Promise<void> {
  const { argocd, serving } = state.namespaces;
  await removeApplication(api, state);
  await api.create(resourcePath('argoproj.io/v1alpha1', argocd, 'applications'), {
    apiVersion: 'argoproj.io/v1alpha1',
    kind: 'Application',
    metadata: { name: 'digits', namespace: argocd, finalizers: ['resources-finalizer.argocd.argoproj.io'] },
    spec: {
      project: 'default',
      source: { repoURL, targetRevision: 'main', path: 'k8s' },
      destination: { server: 'https://kubernetes.default.svc', namespace: serving },
      syncPolicy: { automated: { prune: true, selfHeal: true } },
    },
  });
}

/** With what it deployed: its finalizer sees to that. */
async function removeApplication(api: KubernetesApi, state: ClusterState): Promise<void> {
  const path = resourcePath('argoproj.io/v1alpha1', state.namespaces.argocd, 'applications', 'digits');
  const missing = (error: unknown) => {
    if (error instanceof ApiError && error.code === 404) return true;
    throw error;
  };
  if ((await api.delete(path, {}).catch(missing)) === true) return;
  const deadline = Date.now() + 60_000;
  while ((await api.get(path).catch(missing)) !== true) {
    if (Date.now() > deadline)
      throw new ThroughlineError('TL_INTERNAL', 'Argo CD does not remove Application digits');
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

async function podsOf(api: KubernetesApi, namespace: string, names: readonly string[]): Promise<Pod[]> {
  return Promise.all(names.map((name) => api.get<Pod>(resourcePath('v1', namespace, 'pods', name))));
}
