// Logs of pods. Kubernetes gives them by time, not by place: a page's end is the time of its last line.
import { type KubernetesApi, resourcePath } from '../../../kubernetes/api.js';
import type { Pod } from '../../../kubernetes/objects.js';
import { LOG_START, type LogPage } from '../runner.js';
import { HANDOVER_CONTAINER, JOB_NAME_LABEL } from './manifest.js';

const DEFAULT_CONTAINER = 'kubectl.kubernetes.io/default-container';

/** The end of a container's log. */
export async function tailOf(
  api: KubernetesApi,
  namespace: string,
  pod: string,
  container: string,
  bytes: number,
  signal?: AbortSignal,
): Promise<string> {
  // The API counts bytes from the beginning, lines from the end.
  const path = `${resourcePath('v1', namespace, 'pods', pod)}/log`;
  const text = await api.text(path, { container, tailLines: Math.ceil(bytes / 40) }, signal);
  return text.slice(-bytes);
}

/** A page of the log of a Job's newest pod. `from` is POD/TIME of the last line of the page before. */
export async function readPodLog(
  api: KubernetesApi,
  namespace: string,
  job: string,
  from: string | undefined,
  bytes: number,
): Promise<LogPage> {
  const list = await api.get<{ items: Pod[] }>(resourcePath('v1', namespace, 'pods'), {
    labelSelector: `${JOB_NAME_LABEL}=${job}`,
  });
  const pods = [...list.items].sort((a, b) =>
    (a.metadata.creationTimestamp ?? '').localeCompare(b.metadata.creationTimestamp ?? ''),
  );
  const [wanted, after = ''] = (from ?? '').split('/');
  const pod =
    from === LOG_START ? pods[0] : (pods.find(({ metadata }) => metadata.name === wanted) ?? pods.at(-1));
  if (!pod) return { text: '', next: from ?? '', complete: false };
  const container = containerOf(pod);
  const started = pod.status?.containerStatuses?.some(
    ({ name, state }) => name === container && !state?.waiting,
  );
  if (!started) return { text: '', next: from ?? '', complete: false };
  const path = `${resourcePath('v1', namespace, 'pods', pod.metadata.name)}/log`;
  let lines: string[];
  // Times are asked for by the second: what was read of that second comes again, and is left out. Where nothing else fits
  // into the limit, that is raised.
  for (let limitBytes = bytes * 2; ; limitBytes *= 2) {
    const place =
      from === undefined
        ? { tailLines: Math.ceil(bytes / 80) }
        : { limitBytes, ...(after ? { sinceTime: after } : {}) };
    const text = await api.text(path, { container, timestamps: true, ...place });
    const whole = text.slice(0, text.lastIndexOf('\n') + 1); // a limit may cut the last line
    lines = whole.split('\n').filter((line) => line !== '' && line.slice(0, line.indexOf(' ')) > after);
    if (lines.length > 0 || from === undefined || Buffer.byteLength(text) < limitBytes) break;
  }
  const ended = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  const last = lines.at(-1);
  const later = pods[pods.indexOf(pod) + 1];
  const exhausted = lines.length === 0;
  const position = last ? last.slice(0, last.indexOf(' ')) : after;
  return {
    text: lines.map((line) => `${line.slice(line.indexOf(' ') + 1)}\n`).join(''),
    next: exhausted && ended && later ? `${later.metadata.name}/` : `${pod.metadata.name}/${position}`,
    complete: ended && exhausted && !later,
  };
}

function containerOf(pod: Pod): string {
  const named = pod.metadata.annotations?.[DEFAULT_CONTAINER];
  const containers = pod.spec?.containers ?? [];
  const chosen = containers.find(({ name }) => name === named) ?? containers[0];
  return chosen?.name ?? HANDOVER_CONTAINER;
}
