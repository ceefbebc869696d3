// The training manifest: an ordinary batch/v1 Job. Only what Throughline reads is typed here; the rest is kept as it is.
import { z } from 'zod';
import { ThroughlineError } from '../domain/errors.js';
import { readYaml, type YamlDocument } from './yaml.js';

const environmentVariable = z.looseObject({
  name: z.string().min(1),
  value: z.string('expected a string; quote numbers and booleans').optional(),
  valueFrom: z.looseObject({}).optional(),
});

const container = z.looseObject({
  name: z.string().min(1),
  image: z.string().optional(),
  command: z.array(z.string()).optional(),
  args: z.array(z.string()).optional(),
  env: z.array(environmentVariable).optional(),
  envFrom: z.array(z.looseObject({})).optional(),
  terminationMessagePath: z.string().optional(),
});

const jobSchema = z.looseObject({
  apiVersion: z.literal('batch/v1'),
  kind: z.literal('Job'),
  metadata: z.looseObject({ name: z.string().optional() }).optional(),
  spec: z.looseObject({
    backoffLimit: z.int().min(0).optional(),
    activeDeadlineSeconds: z.int().min(1).optional(),
    completions: z.int().optional(),
    parallelism: z.int().optional(),
    suspend: z.boolean().optional(),
    template: z.looseObject({
      metadata: z.looseObject({ annotations: z.record(z.string(), z.string()).optional() }).optional(),
      spec: z.looseObject({
        containers: z.array(container).min(1, 'expected at least one container'),
        initContainers: z.array(z.looseObject({})).optional(),
        terminationGracePeriodSeconds: z.int().min(0).optional(),
      }),
    }),
  }),
});

export type JobManifest = z.infer<typeof jobSchema>;
export type JobContainer = z.infer<typeof container>;

/** Kubernetes' own default for `spec.backoffLimit` (API reference, JobSpec). */
export const DEFAULT_BACKOFF_LIMIT = 6;

/** Parses a manifest file. Throws TL_JOB_INVALID with the place of the first thing that is wrong. */
export function parseJobManifest(text: string, file: string): JobManifest {
  return readJobManifest(text, file).job;
}

/** The same, with where everything in it is. */
export function readJobManifest(text: string, file: string): { job: JobManifest; document: YamlDocument } {
  const documents = readYaml(text, file, 'TL_JOB_INVALID').documents.filter(({ value }) => value != null);
  const [document, second] = documents;
  if (!document || second) {
    throw new ThroughlineError('TL_JOB_INVALID', 'The training manifest is not exactly one document', {
      expected: 'one batch/v1 Job',
      found: `${documents.length} documents`,
      where: { file },
    });
  }
  const parsed = jobSchema.safeParse(document.value);
  if (!parsed.success) throw jobError(parsed.error, document);
  return { job: parsed.data, document };
}

function jobError(error: z.ZodError, document: YamlDocument): ThroughlineError {
  const issue = error.issues[0];
  const path = issue?.path ?? [];
  const found = document.value as { apiVersion?: unknown; kind?: unknown } | null;
  const isOtherKind = found?.kind !== 'Job' || found?.apiVersion !== 'batch/v1';
  return new ThroughlineError(
    'TL_JOB_INVALID',
    isOtherKind ? 'The training manifest is no Job' : `The Job is not valid at ${path.join('.')}`,
    {
      expected: isOtherKind ? 'apiVersion: batch/v1, kind: Job' : (issue?.message ?? 'a batch/v1 Job'),
      found: isOtherKind
        ? `apiVersion: ${String(found?.apiVersion)}, kind: ${String(found?.kind)}`
        : undefined,
      where: document.locate(path),
    },
  );
}

/** The container that trains: the default container where the pod names one, else the first (kubectl's own rule). */
export function trainingContainer(job: JobManifest): JobContainer {
  const named = job.spec.template.metadata?.annotations?.['kubectl.kubernetes.io/default-container'];
  const containers = job.spec.template.spec.containers;
  const chosen = containers.find(({ name }) => name === named) ?? containers[0];
  if (!chosen) throw new ThroughlineError('TL_JOB_INVALID', 'The Job has no container');
  return chosen;
}

/** Parts of a container that may hold a secret as they stand, and that nothing needs once its Job is made. */
const UNSEALED = [
  'command',
  'args',
  'env',
  'envFrom',
  'lifecycle',
  'livenessProbe',
  'readinessProbe',
  'startupProbe',
];

/**
 * A manifest as it may be kept in histories: without what its containers run and with which environment (I9). Whoever makes
 * the Job reads the manifest again, at the same commit.
 */
export function sealJob(job: JobManifest): JobManifest {
  const { spec } = job.spec.template;
  const sealed = <Container extends Record<string, unknown>>(container: Container): Container =>
    Object.fromEntries(Object.entries(container).filter(([key]) => !UNSEALED.includes(key))) as Container;
  return {
    ...job,
    spec: {
      ...job.spec,
      template: {
        ...job.spec.template,
        spec: {
          ...spec,
          containers: spec.containers.map(sealed),
          ...(spec.initContainers ? { initContainers: spec.initContainers.map(sealed) } : {}),
        },
      },
    },
  };
}
