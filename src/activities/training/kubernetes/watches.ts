// What is watched of training: the Jobs of ours in a namespace and their pods, once per worker, however many wait.
import { type KubernetesApi, resourcePath } from '../../../kubernetes/api.js';
import type { Job, Pod } from '../../../kubernetes/objects.js';
import { SharedWatch } from '../../../kubernetes/shared-watch.js';
import type { Logger } from '../../../telemetry/log.js';
import { JOB_NAME_LABEL, MANAGED_BY } from './manifest.js';

const SELECTOR = Object.entries(MANAGED_BY)
  .map(([name, value]) => `${name}=${value}`)
  .join(',');

/** How often a wait looks at the clock though nothing has changed. Milliseconds. */
export const LOOK_MS = 5_000;

export class NamespaceWatch {
  readonly jobs: SharedWatch<Job>;
  readonly pods: SharedWatch<Pod>;

  constructor(api: KubernetesApi, namespace: string, log: Logger) {
    this.jobs = new SharedWatch<Job>(
      api,
      {
        path: resourcePath('batch/v1', namespace, 'jobs'),
        labelSelector: SELECTOR,
        keyOf: ({ metadata }) => metadata.name,
      },
      log,
    );
    this.pods = new SharedWatch<Pod>(
      api,
      {
        path: resourcePath('v1', namespace, 'pods'),
        labelSelector: SELECTOR,
        keyOf: ({ metadata }) => metadata.labels?.[JOB_NAME_LABEL],
      },
      log,
    );
  }

  async synced(signal: AbortSignal): Promise<void> {
    await Promise.all([this.jobs.synced(signal), this.pods.synced(signal)]);
  }

  get away(): string | undefined {
    return this.jobs.away ?? this.pods.away;
  }

  /** Changes whenever something that is watched of the Job changes. */
  marks(job: string): string {
    const versions = [...this.jobs.of(job), ...this.pods.of(job)].map(
      ({ metadata }) => metadata.resourceVersion,
    );
    return `${this.away ?? ''} ${versions.join(' ')}`;
  }

  /** Waits until the Job or its pods are others than they were at these marks, or for so many milliseconds. */
  async change(job: string, signal: AbortSignal, atMost: number, marks: string): Promise<void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const end = (settle: () => void) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', abort);
        for (const unsubscribe of subscriptions) unsubscribe();
        settle();
      };
      const changed = () => end(resolve);
      const abort = () => end(() => reject(signal.reason));
      const timer = setTimeout(changed, atMost);
      signal.addEventListener('abort', abort, { once: true });
      const subscriptions = [this.jobs.subscribe(job, changed), this.pods.subscribe(job, changed)];
      if (this.marks(job) !== marks) changed(); // it changed before we listened
    });
  }

  stop(): void {
    this.jobs.stop();
    this.pods.stop();
  }
}

export class TrainingWatches {
  private readonly namespaces = new Map<string, NamespaceWatch>();

  constructor(
    private readonly api: KubernetesApi,
    private readonly log: Logger,
  ) {}

  in(namespace: string): NamespaceWatch {
    const existing = this.namespaces.get(namespace);
    if (existing) return existing;
    const watch = new NamespaceWatch(this.api, namespace, this.log);
    this.namespaces.set(namespace, watch);
    return watch;
  }

  stop(): void {
    for (const watch of this.namespaces.values()) watch.stop();
    this.namespaces.clear();
  }
}
