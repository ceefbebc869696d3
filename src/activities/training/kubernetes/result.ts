// From the pods of a Job that succeeded to the training's result: the termination message first, then the log (DESIGN §4).
import { z } from 'zod';
import { ThroughlineError } from '../../../domain/errors.js';
import { isDigest } from '../../../domain/ids.js';
import type { TrainedModel } from '../../../domain/release.js';
import type { Job, Pod } from '../../../kubernetes/objects.js';
import { parseResultFile, parseResultLog } from '../result.js';
import type { PodRecord, TrainingJob } from '../runner.js';
import { HANDOVER_CONTAINER } from './manifest.js';
import { newest } from './state.js';

const INDEX_ANNOTATION = 'batch.kubernetes.io/job-completion-index';

const handoverSchema = z.object({
  model: z.object({ uri: z.string(), digest: z.string() }).optional(),
  error: z.string().optional(),
});

/** The pod whose word counts: of an indexed Job the first index's that said something, otherwise the newest. */
export function resultPod(pods: readonly Pod[], container: string): Pod | undefined {
  const succeeded = pods.filter(({ status }) => status?.phase === 'Succeeded');
  const index = (pod: Pod) => Number(pod.metadata.annotations?.[INDEX_ANNOTATION] ?? 0);
  const speaking = succeeded
    .filter((pod) => messageOf(pod, container) !== '')
    .sort((a, b) => index(a) - index(b));
  return speaking[0] ?? newest(succeeded);
}

export function messageOf(pod: Pod, container: string): string {
  const statuses = [...(pod.status?.containerStatuses ?? []), ...(pod.status?.initContainerStatuses ?? [])];
  return statuses.find(({ name }) => name === container)?.state?.terminated?.message?.trim() ?? '';
}

export interface Evidence {
  readonly job: TrainingJob;
  readonly object: Job;
  readonly pods: readonly Pod[];
  readonly records: readonly PodRecord[];
  readonly container: string;
  /** Reads the log of a pod's training container; asked only where the message is empty. */
  readonly readLog: (pod: Pod) => Promise<string>;
}

export async function trainedModel(evidence: Evidence): Promise<TrainedModel> {
  const { job, object, pods, records, container, readLog } = evidence;
  const pod = resultPod(pods, container);
  if (!pod) {
    throw new ThroughlineError(
      'TL_RESULT_MISSING',
      `The pods of Job ${job.name} are gone, and with them its result`,
      {
        expected: 'the succeeded pod of the Job',
        found: 'no pod',
        hint: 'Something removed the finalizer throughline.dev/result from it. Trigger the release again.',
      },
    );
  }
  const message = messageOf(pod, container);
  const log = message === '' ? await readLog(pod) : '';
  const report = parseResultFile(message) ?? parseResultLog(log);
  if (!report) {
    throw new ThroughlineError(
      'TL_RESULT_MISSING',
      `The training program of ${job.model} reported no result`,
      {
        expected: 'JSON in the file RESULT_FILE, or a line MODEL_ID=… in the log',
        found: `an empty termination message, and a log that ends with:\n${log.trimEnd().slice(-2000) || '(nothing)'}`,
      },
    );
  }
  const model = handedOver(pods) ?? {};
  const uri =
    report.modelUri?.startsWith('oci://') && isDigest(report.modelDigest) ? report.modelUri : model.uri;
  const digest = uri === model.uri ? model.digest : report.modelDigest;
  if (!uri || !isDigest(digest)) {
    throw new ThroughlineError(
      'TL_MODEL_MISSING',
      `The training program reported ${report.modelId} but left no model`,
      {
        expected:
          'files below MODEL_OUTPUT, or the uri (oci://…) and digest of a model that it pushed itself',
        found:
          model.error ??
          (report.modelUri
            ? `uri ${report.modelUri}, digest ${report.modelDigest ?? 'none'}`
            : 'no file and no uri'),
      },
    );
  }
  return {
    id: report.modelId,
    uri: uri.includes('@') ? uri : `${uri}@${digest}`,
    digest,
    metrics: report.metrics,
    datasetDigest: report.datasetDigest,
    job: job.name,
    image: job.image,
    pods: records,
    attempts: Math.max(1, records.length),
    startedAt: object.status?.startTime ?? object.metadata.creationTimestamp ?? '',
    endedAt: object.status?.completionTime ?? records.at(-1)?.endedAt ?? '',
  };
}

/** What the sidecar of the succeeded pods pushed; of several the first that pushed something. */
function handedOver(pods: readonly Pod[]): { uri?: string; digest?: string; error?: string } | undefined {
  const said = pods
    .filter(({ status }) => status?.phase === 'Succeeded')
    .map((pod) => {
      try {
        return handoverSchema.parse(JSON.parse(messageOf(pod, HANDOVER_CONTAINER)));
      } catch {
        return {}; // no sidecar, or none that said anything
      }
    });
  const pushed = said.find(({ model }) => model)?.model;
  if (pushed) return pushed;
  const error = said.find((one) => one.error)?.error;
  return error ? { error: `the hand-over to the registry failed: ${error}` } : undefined;
}
