// What a wait for Argo CD remembers from look to look: what git says of revisions, asked once each because it does not
// change, and since when pods that nobody probes have run.

import type { GitOpsRepository, Revision } from '../gitops/change.js';
import { type WorkloadName, workloadOf } from '../gitops/edit.js';
import type { Application, SourceOf } from './application.js';
import { sourceOf } from './sources.js';
import type { ExpectedWorkload } from './watcher.js';

/** Within a second or two the kubelet says that a container has ended. Milliseconds. */
const STEADY_MS = 2_500;

export class Relations {
  /** Argo CD has not seen our commit yet: a refresh helps. */
  behind = true;
  /** Only pods are waited for. */
  rollingOut = false;
  private steady: { readonly starts: string; readonly since: number } | undefined;
  private readonly known = new Map<string, Revision>();
  private watched: { spec: string; source: Promise<SourceOf> } | undefined;
  private named: Promise<WorkloadName> | undefined;

  constructor(
    private readonly gitops: GitOpsRepository,
    private readonly expected: ExpectedWorkload,
    private readonly signal: AbortSignal,
  ) {}

  /** The source that deploys the manifest, as long as the Application says the same. */
  source(application: Application): Promise<SourceOf> {
    const spec = JSON.stringify([application.spec.source, application.spec.sources]);
    if (this.watched?.spec !== spec) {
      const source = sourceOf(this.gitops, application, this.expected, this.signal);
      this.watched = { spec, source };
    }
    return this.watched.source;
  }

  /** Whether pods that nobody probes may still end at once: they are watched for a while. */
  unsteady(starts: string | undefined): string | undefined {
    if (starts === undefined) return undefined;
    if (this.steady?.starts !== starts) this.steady = { starts, since: Date.now() };
    if (Date.now() - this.steady.since >= STEADY_MS) return undefined;
    return 'the pods run, have no readiness probe, and are watched whether they stay';
  }

  /** What the target's files call the workload, at our commit. */
  workload(): Promise<WorkloadName> {
    const { change, commit } = this.expected;
    this.named ??= workloadOf(this.expected, (path) => this.gitops.fileAt(change, commit, path, this.signal));
    return this.named;
  }

  async of(revision: string): Promise<Revision> {
    const known = this.known.get(revision);
    if (known) return known;
    const { change, commit } = this.expected;
    const relation = await this.gitops.relation(change, commit, revision, this.signal);
    if (relation !== 'unknown') this.known.set(revision, relation);
    return relation;
  }
}
