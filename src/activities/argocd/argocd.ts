// The SyncWatcher of Argo CD, through its Application resources and the Kubernetes API alone: no Argo CD account is needed.
import { type ErrorCode, ThroughlineError } from '../../domain/errors.js';
import type { SyncedDeployment } from '../../domain/release.js';
import { ApiError, asProblem, type KubernetesApi, resourcePath } from '../../kubernetes/api.js';
import type { KubernetesObject } from '../../kubernetes/objects.js';
import { patiently } from '../../kubernetes/patience.js';
import { SharedWatch } from '../../kubernetes/shared-watch.js';
import type { Logger } from '../../telemetry/log.js';
import { syncObservations } from '../../telemetry/observations.js';
import type { GitOpsRepository, Revision } from '../gitops/change.js';
import { type Application, ailing, complaints, heldBack, pausedBy, revisionAt } from './application.js';
import { Relations } from './relations.js';
import { ailmentIn, missingIn, runningOf } from './running.js';
import { sourceOf } from './sources.js';
import {
  type ExpectedDeployment,
  type ExpectedWorkload,
  LOOK_SECONDS,
  type Look,
  type SyncOptions,
  type SyncTarget,
  type SyncWatcher,
} from './watcher.js';

const API_VERSION = 'argoproj.io/v1alpha1';
const REFRESH_ANNOTATION = 'argocd.argoproj.io/refresh';
/** Argo CD is asked again where it has looked, and has not found our commit: git servers have replicas. Milliseconds. */
const REFRESH_AGAIN_MS = 10_000;
/** How often a wait looks though nothing was heard. Milliseconds. */
const LOOK_MS = 3_000;
/** While pods start, which is a matter of seconds and of another API. Milliseconds. */
const ROLLOUT_LOOK_MS = 300;

/** What stands between a commit and its success. */
interface Obstacle {
  readonly code: ErrorCode;
  readonly doing: string;
  /** No waiting will help. */
  readonly final?: boolean;
}

export class ArgoCdSyncWatcher implements SyncWatcher {
  private readonly watches = new Map<string, SharedWatch<Application>>();

  constructor(
    private readonly api: KubernetesApi,
    private readonly gitops: GitOpsRepository,
    private readonly log: Logger,
  ) {}

  async check(target: SyncTarget, { signal, report }: SyncOptions): Promise<void> {
    const { application: name, namespace } = target;
    report(`looking at Application ${namespace}/${name}`);
    let application: Application;
    try {
      application = await this.api.get<Application>(
        resourcePath(API_VERSION, namespace, 'applications', name),
        {},
        signal,
      );
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== 404)
        throw asProblem(error, `read Application ${namespace}/${name}`);
      throw new ThroughlineError('TL_APPLICATION_NOT_FOUND', `There is no Application ${namespace}/${name}`, {
        expected: 'the Application that deploys the manifest',
        found: error.message,
      });
    }
    await sourceOf(this.gitops, application, target, signal);
  }

  async wait(
    expected: ExpectedDeployment,
    { signal, report, observe }: SyncOptions,
  ): Promise<SyncedDeployment> {
    const { application: name, namespace, commit } = expected;
    const watch = await this.synced(namespace, { signal, report });
    const relations = new Relations(this.gitops, expected, signal);
    let refreshedAt = 0;
    for (;;) {
      const application = watch.of(name)[0];
      const obstacle = application
        ? await this.obstacle(application, expected, relations, signal)
        : missingApplication(expected);
      if (!obstacle && application) {
        const { synced, rollout } = await runningOf(this.api, application, expected, relations, signal);
        observe?.(...syncObservations(synced, commit, rollout));
        return synced;
      }

      if (application && relations.behind && Date.now() - refreshedAt > REFRESH_AGAIN_MS) {
        await this.refresh(application, signal);
        refreshedAt = Date.now();
      }
      const doing = obstacle?.doing ?? '';
      report(watch.away ? `waiting for the Kubernetes API (${watch.away}); last seen: ${doing}` : doing);
      if (obstacle?.final || Date.now() > Date.parse(expected.deadline)) {
        throw new ThroughlineError(
          obstacle?.code ?? 'TL_SYNC_TIMEOUT',
          `${name} does not run ${commit.slice(0, 12)}`,
          {
            expected: `Application ${namespace}/${name} synced to ${commit.slice(0, 12)} and healthy, by ${expected.deadline}`,
            found: doing,
          },
        );
      }
      const pause = relations.rollingOut ? ROLLOUT_LOOK_MS : LOOK_MS;
      const version = application?.metadata.resourceVersion;
      await watch.changed(name, version, pause, signal);
    }
  }

  async *looks(expected: ExpectedWorkload, { signal, report }: SyncOptions): AsyncGenerator<Look> {
    const { application: name, namespace } = expected;
    const watch = await this.synced(namespace, { signal, report });
    const relations = new Relations(this.gitops, expected, signal);
    for (;;) {
      const application = watch.of(name)[0];
      if (watch.away) yield { is: 'unseen', why: `waiting for the Kubernetes API (${watch.away})` };
      else if (!application) yield { is: 'ailing', why: `Application ${namespace}/${name} is not there` };
      else {
        const why = await this.ailment(application, relations, signal);
        yield why ? { is: 'ailing', why } : { is: 'healthy' };
      }
      await watch.changed(name, application?.metadata.resourceVersion, LOOK_SECONDS * 1000, signal);
    }
  }

  /** What is wrong with a deployment that was healthy; undefined where nothing is. */
  private async ailment(
    application: Application,
    relations: Relations,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { index } = await relations.source(application);
    const { sync, operationState } = application.status ?? {};
    const { phase, syncResult } = operationState ?? {};
    const seen = revisionAt(index, sync?.revision, sync?.revisions);
    const applied = revisionAt(index, syncResult?.revision, syncResult?.revisions);
    if (seen !== undefined && (await relations.of(seen)) === 'changed') throw reverted(application, seen);
    if (phase === 'Succeeded' && applied !== undefined && (await relations.of(applied)) === 'older')
      throw reverted(application, applied);
    const pods = await ailmentIn(this.api, application, relations, signal);
    return degraded(application, pods) ?? pods;
  }

  /** I5, step by step: what is missing; undefined where nothing is. */
  private async obstacle(
    application: Application,
    expected: ExpectedDeployment,
    relations: Relations,
    signal: AbortSignal,
  ): Promise<Obstacle | undefined> {
    const { index } = await relations.source(application);
    const { sync, health, operationState } = application.status ?? {};
    relations.behind = false;
    relations.rollingOut = false;
    const seen = revisionAt(index, sync?.revision, sync?.revisions);
    const relation = seen === undefined ? 'older' : await relations.of(seen);
    const said = complaints(application);
    const because = said.length > 0 ? `: ${said.join('; ')}` : '';
    if (relation === 'changed') {
      return {
        code: 'TL_SYNC_REVERTED',
        final: true,
        doing: `revision ${seen} no longer has the release’s change: somebody rolled it back or changed it by hand`,
      };
    }
    if (relation !== 'ours' && relation !== 'kept') {
      relations.behind = true;
      const paused = pausedBy(application);
      if (paused) return { code: 'TL_SYNC_BLOCKED', doing: `Argo CD does not look: ${paused}` };
      return {
        code: said.length > 0 ? 'TL_SYNC_FAILED' : 'TL_SYNC_TIMEOUT',
        doing: `waiting for Argo CD to see the commit (it is at ${seen?.slice(0, 12) ?? 'none'})${because}`,
      };
    }
    const synced = revisionAt(
      index,
      operationState?.syncResult?.revision,
      operationState?.syncResult?.revisions,
    );
    const operation = synced === undefined ? 'older' : await relations.of(synced);
    const ofOurs = operation === 'ours' || operation === 'kept';
    if (ofOurs && operationState?.phase === 'Running') {
      // Argo CD tries a failed sync again by itself, and calls that running.
      const again = /unsuccessful|retrying/i.test(operationState.message ?? '');
      return {
        code: again || said.length > 0 ? 'TL_SYNC_FAILED' : 'TL_SYNC_TIMEOUT',
        doing: `Argo CD is syncing: ${operationState.message ?? ''}${because}`,
      };
    }
    if (ofOurs && operationState?.phase !== 'Succeeded') {
      return {
        code: 'TL_SYNC_FAILED',
        doing: `Argo CD’s sync ${operationState?.phase?.toLowerCase() ?? 'failed'}${because}`,
      };
    }
    if (!ofOurs || sync?.status !== 'Synced')
      return this.unsynced(application, operation, synced, because, signal);
    relations.rollingOut = true;
    const missing = await missingIn(this.api, application, expected, relations, signal);
    const ill = degraded(application, missing);
    if (ill) return { code: 'TL_DEPLOYMENT_UNHEALTHY', doing: ill };
    if (missing) return { code: 'TL_DEPLOYMENT_UNHEALTHY', doing: `rolling out: ${missing}` };
    if (health?.status !== 'Healthy') {
      return {
        code: 'TL_DEPLOYMENT_UNHEALTHY',
        doing: `waiting for Argo CD to report Healthy: ${[health?.status, ...ailing(application)].join('; ')}`,
      };
    }
    return undefined;
  }

  /** Argo CD knows the commit and has not applied it, or has applied something else since. */
  private async unsynced(
    application: Application,
    operation: Revision,
    synced: string | undefined,
    because: string,
    signal: AbortSignal,
  ): Promise<Obstacle> {
    if (operation === 'ours' || operation === 'kept') {
      return {
        code: 'TL_SYNC_REVERTED',
        doing: `what the cluster has is not what was synced: somebody changed it by hand${because}`,
      };
    }
    const held = heldBack(application) ?? (await this.window(application, signal));
    if (held) return { code: 'TL_SYNC_BLOCKED', doing: `Argo CD does not sync: ${held}${because}` };
    const last = synced ? ` (last synced ${synced.slice(0, 12)})` : ' (never synced)';
    return {
      code: because ? 'TL_SYNC_FAILED' : 'TL_SYNC_TIMEOUT',
      doing: `waiting for Argo CD to sync the commit${last}${because}`,
    };
  }

  /** A sync window of the project, where one may hold the sync back. Argo CD does not say so in the Application. */
  private async window(application: Application, signal: AbortSignal): Promise<string | undefined> {
    const { namespace = '' } = application.metadata;
    const project = application.spec.project ?? 'default';
    try {
      const { spec } = await this.api.get<{
        spec?: { syncWindows?: { kind?: string; schedule?: string; duration?: string }[] };
      }>(resourcePath(API_VERSION, namespace, 'appprojects', project), {}, signal);
      const windows = spec?.syncWindows ?? [];
      if (windows.length === 0) return undefined;
      return `project ${project} has sync windows: ${windows.map(({ kind, schedule, duration }) => `${kind} at "${schedule}" for ${duration}`).join('; ')}`;
    } catch {
      return undefined; // it is only a hint
    }
  }

  private async refresh(application: Application, signal: AbortSignal): Promise<void> {
    const { namespace = '', name } = application.metadata;
    const path = resourcePath(API_VERSION, namespace, 'applications', name);
    try {
      await this.api.merge(path, { metadata: { annotations: { [REFRESH_ANNOTATION]: 'normal' } } }, signal);
    } catch (error) {
      const problem = asProblem(error, `refresh Application ${namespace}/${name}`);
      // Without it Argo CD looks by itself, later.
      if (problem instanceof ThroughlineError && problem.code === 'TL_KUBERNETES_DENIED') throw problem;
      this.log.warn({ application: name, error: String(error) }, 'Argo CD was not asked to refresh');
    }
  }

  /** The watch of the namespace's Applications, once it has heard of all of them. */
  private async synced(
    namespace: string,
    { signal, report }: SyncOptions,
  ): Promise<SharedWatch<Application>> {
    const watch = this.watchOf(namespace);
    await patiently('watch Applications', () => watch.synced(signal), signal, report);
    return watch;
  }

  private watchOf(namespace: string): SharedWatch<Application> {
    const existing = this.watches.get(namespace);
    if (existing) return existing;
    const watch = new SharedWatch<Application>(
      this.api,
      {
        path: resourcePath(API_VERSION, namespace, 'applications'),
        keyOf: ({ metadata }: KubernetesObject) => metadata.name,
      },
      this.log,
    );
    this.watches.set(namespace, watch);
    return watch;
  }

  stop(): void {
    for (const watch of this.watches.values()) watch.stop();
  }
}

function missingApplication({ namespace, application }: ExpectedDeployment): Obstacle {
  return { code: 'TL_APPLICATION_NOT_FOUND', doing: `Application ${namespace}/${application} is not there` };
}

/** What Argo CD says of a deployment that is ill, with what else is known of its pods; undefined where it does not say that. */
function degraded(application: Application, pods: string | undefined): string | undefined {
  const { health } = application.status ?? {};
  if (health?.status !== 'Degraded' && health?.status !== 'Missing') return undefined;
  const details = [health.message, ...ailing(application), pods].filter(Boolean).join('; ');
  return `Argo CD reports ${health.status}: ${details}`;
}

function reverted({ metadata }: Application, revision: string): ThroughlineError {
  return new ThroughlineError('TL_SYNC_REVERTED', `${metadata.name} no longer runs what was deployed`, {
    found: `revision ${revision}, which does not have the release’s change: somebody rolled it back or changed it by hand`,
  });
}
