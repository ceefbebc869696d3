// The worker's settings: read from the environment once, validated, complete afterwards.
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { ThroughlineError } from '../domain/errors.js';
import { DATABASE_URL, DATABASE_URL_FORM } from '../lineage/url.js';
import type { SigningSettings } from '../provenance/signing.js';

import type { OpenLineageSettings } from './event-sender.js';

export interface WorkerConfig {
  readonly taskQueue: string;
  /** File with the server's configuration: what releases and callers may do. */
  readonly configuration: string | undefined;
  readonly runtime: 'local' | 'kubernetes';
  readonly kubernetes: KubernetesSettings;
  /** Everything that the local runtime keeps lies below this directory. */
  readonly data: string;
  readonly builder: 'auto' | 'buildctl' | 'buildx' | 'buildah';
  readonly imageOutput: 'layout' | 'registry';
  readonly insecureRegistry: boolean;
  readonly buildContexts: Readonly<Record<string, string>>;
  readonly buildahStorage: string;
  readonly heartbeatTimeoutSeconds: number;
  readonly jobBackoffSeconds: number;
  /** How many workflows stay in memory; as the SDK sees fit where there is no number. */
  readonly maxCachedWorkflows: number | undefined;
  /** Where the lineage is kept: `postgres://…`. */
  readonly databaseUrl: string | undefined;
  /** Which data catalogue is told of releases. */
  readonly openLineage: OpenLineageSettings | undefined;
  /** Seconds between two looks at GitOps repositories for what was done by hand. */
  readonly gitopsScan: number;
  /** Seconds between two looks at what runs; 0 where nobody looks. */
  readonly driftInterval: number;
  /** File with what has to be true of what runs (`verify --policy`); of what the worker signs itself, no more than that. */
  readonly driftPolicy: string | undefined;
  /** What signs what a release has made: a key in a file, or a command with its public key. Nothing is attested without. */
  readonly signing: SigningSettings | undefined;
  readonly gitIdentity: { readonly name: string; readonly email: string };
  readonly logLevel: string;
  /** HOST:PORT of the Prometheus endpoint. */
  readonly metricsAddress: string | undefined;
  readonly healthAddress: { readonly host: string; readonly port: number } | undefined;
  /** `OTEL_*` variables for training programs and builders. */
  readonly workloadTelemetry: Readonly<Record<string, string>>;
}

/** What the `kubernetes` runtime needs to know besides the kubeconfig. */
export interface KubernetesSettings {
  /** Where Jobs go whose manifest names no namespace; the kubeconfig's own where absent. */
  readonly jobNamespace: string | undefined;
  /** Seconds that a pod may be unable to start. */
  readonly podStartSeconds: number;
  /** Program throughline-oci, and the image of it that hands models over; no sidecar where there is none. */
  readonly ociProgram: string;
  readonly ociImage: string | undefined;
  /** Seconds that handing a model over may take. */
  readonly handoverSeconds: number;
  /** Secret and ConfigMap of the Job's namespace: the registry's credentials and its certificate authority. */
  readonly registrySecret: string | undefined;
  readonly registryCertificates: string | undefined;
  readonly buildkit: {
    /** Program throughline-buildkit. */
    readonly program: string;
    readonly address: string | undefined;
    readonly tls: { readonly ca: string; readonly certificate: string; readonly key: string } | undefined;
    readonly cacheInRegistry: boolean;
  };
}

/** XDG Base Directory Specification: where a user's data lies that is kept. */
export function defaultDataDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'throughline');
}

/** XDG Base Directory Specification: what can be had again. */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'throughline');
}

/** Where mirrors of git repositories lie, below a data directory. */
export const gitCacheOf = (data: string) => join(data, 'git');

const seconds = (fallback: number, least: number) => z.coerce.number().min(least).max(3600).default(fallback);

const httpUrl = z.url({ protocol: /^https?$/, error: 'expected http://… or https://…' });

const schema = z.object({
  THROUGHLINE_TASK_QUEUE: z.string().min(1).default('throughline'),
  THROUGHLINE_CONFIG: z.string().min(1).optional(),
  THROUGHLINE_RUNTIME: z.enum(['local', 'kubernetes'], 'expected local or kubernetes').default('local'),
  THROUGHLINE_JOB_NAMESPACE: z.string().min(1).optional(),
  THROUGHLINE_POD_START_TIMEOUT: z.coerce.number().min(1).max(86_400).default(600),
  THROUGHLINE_OCI_PROGRAM: z.string().min(1).default('throughline-oci'),
  THROUGHLINE_OCI_IMAGE: z.string().min(1).optional(),
  THROUGHLINE_HANDOVER_TIMEOUT: z.coerce.number().min(1).max(86_400).default(60),
  THROUGHLINE_REGISTRY_SECRET: z.string().min(1).optional(),
  THROUGHLINE_REGISTRY_CA: z.string().min(1).optional(),
  THROUGHLINE_BUILDKIT_PROGRAM: z.string().min(1).default('throughline-buildkit'),
  THROUGHLINE_BUILDKIT_ADDRESS: z.string().min(1).optional(),
  THROUGHLINE_BUILDKIT_TLS_CA: z.string().min(1).optional(),
  THROUGHLINE_BUILDKIT_TLS_CERT: z.string().min(1).optional(),
  THROUGHLINE_BUILDKIT_TLS_KEY: z.string().min(1).optional(),
  THROUGHLINE_BUILD_CACHE: z.enum(['registry', 'none']).default('registry'),
  THROUGHLINE_DATA: z.string().min(1).optional(),
  THROUGHLINE_BUILDER: z.enum(['auto', 'buildctl', 'buildx', 'buildah']).default('auto'),
  THROUGHLINE_IMAGE_OUTPUT: z.enum(['layout', 'registry']).default('layout'),
  THROUGHLINE_REGISTRY_INSECURE: z.enum(['true', 'false']).default('false'),
  THROUGHLINE_BUILD_CONTEXTS: z.string().default(''),
  THROUGHLINE_BUILDAH_STORAGE: z.string().optional(),
  THROUGHLINE_HEARTBEAT_TIMEOUT: seconds(10, 1),
  THROUGHLINE_JOB_BACKOFF: seconds(10, 0),
  THROUGHLINE_MAX_CACHED_WORKFLOWS: z.coerce.number().int().min(0).max(100_000).optional(),
  THROUGHLINE_GIT_AUTHOR: z
    .string()
    .regex(/^[^<>\n]+ <[^<>\s]+>$/, 'expected: Name <address>')
    .default('Throughline <throughline@localhost>'),
  THROUGHLINE_DATABASE_URL: z.string().regex(DATABASE_URL, `expected ${DATABASE_URL_FORM}`).optional(),
  OPENLINEAGE_URL: httpUrl.optional(),
  OPENLINEAGE_ENDPOINT: z.string().min(1).default('api/v1/lineage'),
  OPENLINEAGE_API_KEY: z.string().min(1).optional(),
  OPENLINEAGE_NAMESPACE: z.string().min(1).default('throughline'),
  OPENLINEAGE_DISABLED: z.string().optional(),
  THROUGHLINE_GITOPS_SCAN: z.coerce.number().min(1).max(86_400).default(15),
  THROUGHLINE_DRIFT_INTERVAL: z.coerce.number().int().min(0).max(86_400).default(900),
  THROUGHLINE_SIGNING_KEY: z.string().min(1).optional(),
  THROUGHLINE_SIGNING_COMMAND: z.string().min(1).optional(),
  THROUGHLINE_SIGNING_PUBLIC_KEY: z.string().min(1).optional(),
  THROUGHLINE_SIGNING_FULCIO_URL: httpUrl.optional(),
  THROUGHLINE_SIGNING_REKOR_URL: httpUrl.optional(),
  THROUGHLINE_SIGNING_TOKEN_FILE: z.string().min(1).optional(),
  THROUGHLINE_DRIFT_POLICY: z.string().min(1).optional(),
  THROUGHLINE_LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  THROUGHLINE_METRICS_ADDRESS: z
    .string()
    .regex(/^[^\s:]*:\d{1,5}$/, 'expected HOST:PORT')
    .optional(),
  THROUGHLINE_HEALTH_ADDRESS: z
    .string()
    .regex(/^[^\s:]*:\d{1,5}$/, 'expected HOST:PORT')
    .optional(),
});

const SECRET: ReadonlySet<string> = new Set([
  'THROUGHLINE_DATABASE_URL',
  'OPENLINEAGE_URL',
  'OPENLINEAGE_API_KEY',
]);

/** Throws TL_CONFIG_INVALID naming the variable. */
export function workerConfig(env: NodeJS.ProcessEnv = process.env): WorkerConfig {
  const parsed = schema.safeParse(env);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const name = String(issue?.path[0]);
    throw new ThroughlineError('TL_CONFIG_INVALID', `${name} is not usable`, {
      expected: issue?.message.replace(/^expected /, ''),
      found: SECRET.has(name) ? undefined : env[name], // it may hold a password (I9)
    });
  }
  const values = parsed.data;
  const data = resolve(values.THROUGHLINE_DATA ?? defaultDataDirectory(env));
  const [, name = '', email = ''] = /^(.*) <(.*)>$/.exec(values.THROUGHLINE_GIT_AUTHOR) ?? [];
  return {
    taskQueue: values.THROUGHLINE_TASK_QUEUE,
    configuration: values.THROUGHLINE_CONFIG,
    runtime: values.THROUGHLINE_RUNTIME,
    kubernetes: kubernetesSettings(values),
    data,
    builder: values.THROUGHLINE_BUILDER,
    imageOutput: values.THROUGHLINE_IMAGE_OUTPUT,
    insecureRegistry: values.THROUGHLINE_REGISTRY_INSECURE === 'true',
    buildContexts: parseContexts(values.THROUGHLINE_BUILD_CONTEXTS),
    buildahStorage: resolve(values.THROUGHLINE_BUILDAH_STORAGE ?? join(cacheDirectory(env), 'buildah')),
    heartbeatTimeoutSeconds: values.THROUGHLINE_HEARTBEAT_TIMEOUT,
    jobBackoffSeconds: values.THROUGHLINE_JOB_BACKOFF,
    maxCachedWorkflows: values.THROUGHLINE_MAX_CACHED_WORKFLOWS,
    databaseUrl: values.THROUGHLINE_DATABASE_URL,
    openLineage: openLineageSettings(values),
    gitopsScan: values.THROUGHLINE_GITOPS_SCAN,
    driftInterval: values.THROUGHLINE_DRIFT_INTERVAL,
    driftPolicy: values.THROUGHLINE_DRIFT_POLICY,
    signing: signingSettings(values),
    gitIdentity: { name, email },
    logLevel: values.THROUGHLINE_LOG_LEVEL,
    metricsAddress: values.THROUGHLINE_METRICS_ADDRESS,
    healthAddress: parseAddress(values.THROUGHLINE_HEALTH_ADDRESS),
    workloadTelemetry: workloadTelemetry(env),
  };
}

function signingSettings(values: z.output<typeof schema>): SigningSettings | undefined {
  const { THROUGHLINE_SIGNING_FULCIO_URL: fulcio, THROUGHLINE_SIGNING_REKOR_URL: rekor } = values;
  const { THROUGHLINE_SIGNING_TOKEN_FILE: token } = values;
  const { THROUGHLINE_SIGNING_KEY: key, THROUGHLINE_SIGNING_COMMAND: command } = values;
  const { THROUGHLINE_SIGNING_PUBLIC_KEY: publicKey } = values;
  if (key && !command && !fulcio) return { key };
  if (command && publicKey && !key && !fulcio) return { command, publicKey };
  if (fulcio && rekor && token && !key && !command) return { fulcio, rekor, token };
  if (!key && !command && !fulcio && !rekor) return undefined;
  throw new ThroughlineError('TL_CONFIG_INVALID', 'It is not clear what signs', {
    expected:
      'THROUGHLINE_SIGNING_KEY; or THROUGHLINE_SIGNING_COMMAND with THROUGHLINE_SIGNING_PUBLIC_KEY; or THROUGHLINE_SIGNING_FULCIO_URL with THROUGHLINE_SIGNING_REKOR_URL and THROUGHLINE_SIGNING_TOKEN_FILE',
  });
}

/** As OpenLineage's own clients read them. */
function openLineageSettings(values: z.output<typeof schema>): OpenLineageSettings | undefined {
  if (!values.OPENLINEAGE_URL || values.OPENLINEAGE_DISABLED?.toLowerCase() === 'true') return undefined;
  return {
    url: `${values.OPENLINEAGE_URL.replace(/\/+$/, '')}/${values.OPENLINEAGE_ENDPOINT.replace(/^\/+/, '')}`,
    apiKey: values.OPENLINEAGE_API_KEY,
    namespace: values.OPENLINEAGE_NAMESPACE,
  };
}

function kubernetesSettings(values: z.output<typeof schema>): KubernetesSettings {
  const { THROUGHLINE_BUILDKIT_TLS_CA: ca, THROUGHLINE_BUILDKIT_TLS_CERT: certificate } = values;
  const { THROUGHLINE_BUILDKIT_TLS_KEY: key } = values;
  if ((ca || certificate || key) && !(ca && certificate && key)) {
    throw new ThroughlineError('TL_CONFIG_INVALID', 'TLS to buildkitd is only half configured', {
      expected:
        'all of THROUGHLINE_BUILDKIT_TLS_CA, THROUGHLINE_BUILDKIT_TLS_CERT and THROUGHLINE_BUILDKIT_TLS_KEY',
    });
  }
  return {
    jobNamespace: values.THROUGHLINE_JOB_NAMESPACE,
    podStartSeconds: values.THROUGHLINE_POD_START_TIMEOUT,
    ociProgram: values.THROUGHLINE_OCI_PROGRAM,
    ociImage: values.THROUGHLINE_OCI_IMAGE,
    handoverSeconds: values.THROUGHLINE_HANDOVER_TIMEOUT,
    registrySecret: values.THROUGHLINE_REGISTRY_SECRET,
    registryCertificates: values.THROUGHLINE_REGISTRY_CA,
    buildkit: {
      program: values.THROUGHLINE_BUILDKIT_PROGRAM,
      address: values.THROUGHLINE_BUILDKIT_ADDRESS,
      tls: ca && certificate && key ? { ca, certificate, key } : undefined,
      cacheInRegistry: values.THROUGHLINE_BUILD_CACHE === 'registry',
    },
  };
}

/** `golang:1.26=container-image://localhost/golang:1.26 other=DIR`: NAME=SOURCE, separated by spaces. */
function parseContexts(text: string): Record<string, string> {
  return Object.fromEntries(
    text
      .split(/\s+/)
      .filter(Boolean)
      .map((entry) => {
        const split = entry.indexOf('=');
        if (split < 1) {
          throw new ThroughlineError('TL_CONFIG_INVALID', 'THROUGHLINE_BUILD_CONTEXTS is not usable', {
            expected: 'NAME=SOURCE, separated by spaces',
            found: entry,
          });
        }
        return [entry.slice(0, split), entry.slice(split + 1)];
      }),
  );
}

function parseAddress(text: string | undefined): WorkerConfig['healthAddress'] {
  if (text === undefined) return undefined;
  const split = text.lastIndexOf(':');
  return { host: text.slice(0, split) || '0.0.0.0', port: Number(text.slice(split + 1)) };
}

const WORKLOAD_PREFIX = 'THROUGHLINE_WORKLOAD_';

/**
 * `THROUGHLINE_WORKLOAD_OTEL_…` is given to workloads as `OTEL_…`. Where there is none they are told the worker's own
 * endpoint, but never its headers, which may hold a secret (I9).
 */
function workloadTelemetry(env: NodeJS.ProcessEnv): Record<string, string> {
  const given = Object.entries(env).flatMap(([name, value]) =>
    name.startsWith(`${WORKLOAD_PREFIX}OTEL_`) && value !== undefined
      ? [[name.slice(WORKLOAD_PREFIX.length), value]]
      : [],
  );
  if (given.length > 0) return Object.fromEntries(given);
  const own = ['OTEL_EXPORTER_OTLP_ENDPOINT', 'OTEL_EXPORTER_OTLP_PROTOCOL', 'OTEL_SDK_DISABLED'];
  return Object.fromEntries(own.flatMap((name) => (env[name] ? [[name, env[name] ?? '']] : [])));
}
