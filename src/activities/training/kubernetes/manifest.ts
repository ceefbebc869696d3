// From a plan's Job to the Job that is created: the manifest as it is, plus the contract of DESIGN §4. Pure.
import { sha256Hex } from '../../../domain/ids.js';
import {
  DEFAULT_BACKOFF_LIMIT,
  type JobContainer,
  type JobManifest,
  trainingContainer,
} from '../../../plan/index.js';
import { contractEnvironment } from '../contract.js';
import type { TrainingJob } from '../runner.js';

/** Keeps a finished Job and its pods until their result is in history, whoever deletes them (I2). */
export const RESULT_FINALIZER = 'throughline.dev/result';
/** Label and annotations of ours. */
export const MANAGED_BY = { 'app.kubernetes.io/managed-by': 'throughline' } as const;
export const RELEASE_LABEL = 'throughline.dev/release';
const MODEL_LABEL = 'throughline.dev/model';
/** What the Job was made of: another release's Job of the same name has another one. */
export const CONFIGURATION_ANNOTATION = 'throughline.dev/configuration';
/** Seconds that the program itself is given on cancel: the pod's own period is longer, for the hand-over. */
export const GRACE_ANNOTATION = 'throughline.dev/grace-seconds';
/** Kueue: a Job with this label is suspended until its queue admits it. */
export const KUEUE_QUEUE_LABEL = 'kueue.x-k8s.io/queue-name';
/** Kubernetes sets it on every pod of a Job. */
export const JOB_NAME_LABEL = 'batch.kubernetes.io/job-name';

export const HANDOVER_CONTAINER = 'throughline-model';
const MODEL_VOLUME = 'throughline-model';
const MODEL_DIRECTORY = '/throughline/model';
const NOBODY = 65_532;
/** Kubernetes' default of `terminationMessagePath` (API reference, Container). */
const DEFAULT_MESSAGE_PATH = '/dev/termination-log';
/** A finished Job stays for a day, for whoever wants to read its log. Seconds. */
const DEFAULT_TTL = 86_400;
/** Kubernetes' default of `terminationGracePeriodSeconds`. */
const DEFAULT_GRACE_SECONDS = 30;

export interface HandoverOptions {
  /** Image of throughline-oci. */
  readonly image: string;
  /** Repository that models are pushed to, without tag. */
  readonly repository: string;
  /** Secret of type kubernetes.io/dockerconfigjson in the Job's namespace. */
  readonly secret?: string | undefined;
  /** ConfigMap in the Job's namespace with `ca.crt`, where the registry's certificate is not publicly trusted. */
  readonly certificates?: string | undefined;
  /** Seconds that pushing a model may take. */
  readonly seconds: number;
}

export interface ManifestOptions {
  readonly handover?: HandoverOptions | undefined;
  readonly workloadTelemetry: Readonly<Record<string, string>>;
}

type Json = Record<string, unknown>;

/** `namespace/name` apart. */
export function splitJobName(job: string): { namespace: string; name: string } {
  const [namespace = '', name = ''] = job.split('/');
  return { namespace, name };
}

/** Which training this Job is for: equal for every attempt of one release's training, and for nothing else. */
export function configurationOf(job: TrainingJob): string {
  const { name, release, commit, dataset, parameters, image, manifest } = job;
  return sha256Hex(JSON.stringify([name, release, commit, dataset, parameters, image, manifest]));
}

/** @param manifest all of it, where the history has only a part: which training it is for is told by that part. */
export function kubernetesJob(
  kept: TrainingJob,
  options: ManifestOptions,
  manifest: JobManifest = kept.manifest,
): Json {
  const job = { ...kept, manifest };
  const { namespace, name } = splitJobName(job.name);
  const { spec } = job.manifest;
  const { template } = spec;
  const labels = { ...MANAGED_BY, [RELEASE_LABEL]: job.release, [MODEL_LABEL]: job.model };
  const { metadata } = job.manifest as {
    metadata?: { labels?: Json; annotations?: Json; finalizers?: string[] };
  };
  const podMetadata = (template.metadata ?? {}) as {
    labels?: Json;
    annotations?: Json;
    finalizers?: string[];
  };
  return {
    apiVersion: 'batch/v1',
    kind: 'Job',
    metadata: {
      name,
      namespace,
      labels: { ...metadata?.labels, ...labels },
      annotations: {
        ...metadata?.annotations,
        [CONFIGURATION_ANNOTATION]: configurationOf(kept),
        'throughline.dev/commit': job.commit,
        'throughline.dev/traceparent': job.trace.traceparent,
      },
      finalizers: [...(metadata?.finalizers ?? []), RESULT_FINALIZER],
    },
    spec: {
      ...spec,
      backoffLimit: spec.backoffLimit ?? DEFAULT_BACKOFF_LIMIT,
      activeDeadlineSeconds: Math.min(
        spec.activeDeadlineSeconds ?? Number.POSITIVE_INFINITY,
        Math.ceil(job.timeout),
      ),
      ttlSecondsAfterFinished: spec.ttlSecondsAfterFinished ?? DEFAULT_TTL,
      ...disruptionPolicy(job.manifest),
      template: {
        ...template,
        metadata: {
          ...podMetadata,
          labels: { ...podMetadata.labels, ...labels },
          annotations: {
            ...podMetadata.annotations,
            [GRACE_ANNOTATION]: String(template.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS),
          },
          finalizers: [...(podMetadata.finalizers ?? []), RESULT_FINALIZER],
        },
        spec: podSpec(job, options),
      },
    },
  };
}

/**
 * A pod that was evicted, preempted or drained says nothing about the program: the Job replaces it, and it does not
 * count. Only where the manifest has no policy of its own, and where Kubernetes takes one.
 */
function disruptionPolicy({ spec }: JobManifest): Json {
  if (spec.podFailurePolicy !== undefined || spec.template.spec.restartPolicy !== 'Never') return {};
  return {
    podFailurePolicy: {
      rules: [{ action: 'Ignore', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] }],
    },
  };
}

function podSpec(job: TrainingJob, options: ManifestOptions): Json {
  const { spec } = job.manifest.spec.template;
  const trains = trainingContainer(job.manifest);
  const equip = (container: JobContainer): Json => ({
    ...container,
    ...(container.name === trains.name && job.image ? { image: job.image } : {}),
    env: environment(container, job, options),
    volumeMounts: [
      ...((container.volumeMounts as Json[] | undefined) ?? []),
      { name: MODEL_VOLUME, mountPath: MODEL_DIRECTORY },
    ],
  });
  const handover = job.verifies === undefined ? options.handover : undefined; // it hands over nothing
  const registryVolumes = [
    ...(handover?.secret
      ? [
          {
            name: `${MODEL_VOLUME}-registry`,
            secret: {
              secretName: handover.secret,
              items: [{ key: '.dockerconfigjson', path: 'config.json' }],
            },
          },
        ]
      : []),
    ...(handover?.certificates
      ? [{ name: `${MODEL_VOLUME}-ca`, configMap: { name: handover.certificates } }]
      : []),
  ];
  return {
    ...spec,
    containers: spec.containers.map(equip),
    initContainers: [
      ...((spec.initContainers ?? []) as JobContainer[]).map(equip),
      ...(handover ? [sidecar(job, handover)] : []),
    ],
    volumes: [
      ...((spec.volumes as Json[] | undefined) ?? []),
      { name: MODEL_VOLUME, emptyDir: {} },
      ...registryVolumes,
    ],
    // The hand-over begins when the program has ended, and the grace period is all that it then has.
    terminationGracePeriodSeconds: Math.max(
      spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS,
      handover ? handover.seconds + 10 : 0,
    ),
  };
}

/** The contract's variables come last: they win over the manifest's own of the same name. */
function environment(container: JobContainer, job: TrainingJob, options: ManifestOptions): Json[] {
  const { namespace, name } = splitJobName(job.name);
  const own = container.env ?? [];
  // The worker's settings for telemetry are a default: a manifest that says something else means it.
  const telemetry = Object.entries(options.workloadTelemetry).filter(
    ([name]) => !own.some((one) => one.name === name),
  );
  const contract: Record<string, string> = {
    ...Object.fromEntries(telemetry),
    ...contractEnvironment(job),
    MODEL_OUTPUT: MODEL_DIRECTORY,
    RESULT_FILE: container.terminationMessagePath ?? DEFAULT_MESSAGE_PATH,
  };
  const attributes = own.find((variable) => variable.name === 'OTEL_RESOURCE_ATTRIBUTES')?.value;
  const podAttributes = [
    `k8s.namespace.name=${namespace}`,
    `k8s.job.name=${name}`,
    'k8s.pod.name=$(THROUGHLINE_POD_NAME)',
    'k8s.pod.uid=$(THROUGHLINE_POD_UID)',
  ];
  const fromPod = (variable: string, fieldPath: string) => ({
    name: variable,
    valueFrom: { fieldRef: { fieldPath } },
  });
  // Kubernetes expands $(NAME) of variables that stand before; the parameters of a plan are text, not references.
  const literal = (value: string) => value.replaceAll('$(', () => '$$(');
  const set = new Set([...Object.keys(contract), 'OTEL_RESOURCE_ATTRIBUTES']);
  return [
    ...own.filter((variable) => !set.has(variable.name)),
    fromPod('THROUGHLINE_POD_NAME', 'metadata.name'),
    fromPod('THROUGHLINE_POD_UID', 'metadata.uid'),
    {
      name: 'OTEL_RESOURCE_ATTRIBUTES',
      value: [...(attributes ? [attributes] : []), ...podAttributes].join(','),
    },
    ...Object.entries(contract).map(([variable, value]) => ({ name: variable, value: literal(value) })),
  ];
}

/** A native sidecar (Kubernetes documentation, "Sidecar Containers"): runs beside the program, and ends after it. */
function sidecar(job: TrainingJob, handover: HandoverOptions): Json {
  return {
    name: HANDOVER_CONTAINER,
    image: handover.image,
    restartPolicy: 'Always',
    args: [
      'push-model',
      `--directory=${MODEL_DIRECTORY}`,
      `--reference=${handover.repository}:${job.release}`,
      `--limit=${handover.seconds}s`,
    ],
    env: [
      ...(handover.secret ? [{ name: 'DOCKER_CONFIG', value: '/throughline/registry' }] : []),
      ...(handover.certificates ? [{ name: 'SSL_CERT_FILE', value: '/throughline/ca/ca.crt' }] : []),
    ],
    volumeMounts: [
      { name: MODEL_VOLUME, mountPath: MODEL_DIRECTORY, readOnly: true },
      ...(handover.secret
        ? [{ name: `${MODEL_VOLUME}-registry`, mountPath: '/throughline/registry', readOnly: true }]
        : []),
      ...(handover.certificates
        ? [{ name: `${MODEL_VOLUME}-ca`, mountPath: '/throughline/ca', readOnly: true }]
        : []),
    ],
    resources: { requests: { cpu: '10m', memory: '32Mi' } },
    securityContext: sidecarSecurity(job.manifest),
  };
}

/**
 * It must be able to read what the program wrote, and be no more than the program may be: where the program is bound to a
 * user, it is the same; otherwise root, with the one capability that reading others' files takes. Both pass the Pod
 * Security Standard that the program passes.
 */
function sidecarSecurity(manifest: JobManifest): Json {
  type Security = { runAsUser?: number; runAsGroup?: number; runAsNonRoot?: boolean };
  const { spec } = manifest.spec.template;
  const security: Security = {
    ...(spec.securityContext as Security | undefined),
    ...(trainingContainer(manifest).securityContext as Security | undefined),
  };
  const bound = security.runAsNonRoot === true || (security.runAsUser ?? 0) !== 0;
  return {
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    seccompProfile: { type: 'RuntimeDefault' },
    ...(bound
      ? {
          runAsUser: security.runAsUser ?? NOBODY,
          ...(security.runAsGroup === undefined ? {} : { runAsGroup: security.runAsGroup }),
          runAsNonRoot: true,
          capabilities: { drop: ['ALL'] },
        }
      : { runAsUser: 0, capabilities: { drop: ['ALL'], add: ['DAC_OVERRIDE'] } }),
  };
}
