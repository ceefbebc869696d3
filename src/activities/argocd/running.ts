// What the cluster runs of a target: its workload, and that one's pods.
import { parseCommitSha } from '../../domain/ids.js';
import type { SyncedDeployment } from '../../domain/release.js';
import { ApiError, asProblem, type KubernetesApi, resourcePath } from '../../kubernetes/api.js';
import { type Deployment, type Pod, selectorOf, WORKLOADS } from '../../kubernetes/objects.js';
import { type Application, revisionAt } from './application.js';
import type { Relations } from './relations.js';
import { ailmentOf, missingOf, rolloutOf, troubleOf, unprobed } from './rollout.js';
import type { ExpectedWorkload } from './watcher.js';

/** What the workload lacks of the change, in a person's words; undefined where nothing, or where it is Argo CD's to judge. */
export async function missingIn(
  api: KubernetesApi,
  application: Application,
  expected: ExpectedWorkload,
  relations: Relations,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await workloadIn(api, application, relations, signal);
  if (!found) return undefined;
  const { workload, pods } = found;
  const missing = missingOf(workload, pods, expected);
  if (missing) return missing;
  const unsteady = relations.unsteady(unprobed(workload, pods, expected.container));
  return unsteady && `${unsteady}${troubleOf(pods)}`; // they may have ended before
}

/** What is wrong with pods that were rolled out already; undefined where nothing, or where it is Argo CD's to judge. */
export async function ailmentIn(
  api: KubernetesApi,
  application: Application,
  relations: Relations,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await workloadIn(api, application, relations, signal);
  return found && ailmentOf(found.workload, found.pods);
}

/** What a release records of it. */
export async function runningOf(
  api: KubernetesApi,
  application: Application,
  expected: ExpectedWorkload,
  relations: Relations,
  signal: AbortSignal,
): Promise<{ synced: SyncedDeployment; rollout: ReturnType<typeof rolloutOf> }> {
  const { index } = await relations.source(application);
  const { operationState } = application.status ?? {};
  const found = await workloadIn(api, application, relations, signal);
  const revision = revisionAt(
    index,
    operationState?.syncResult?.revision,
    operationState?.syncResult?.revisions,
  );
  const ours =
    revision !== undefined && (await relations.of(revision)) !== 'older' ? revision : expected.commit;
  const running = (found?.pods ?? []).filter(({ metadata }) => !metadata.deletionTimestamp);
  const synced = {
    application: `${expected.namespace}/${expected.application}`,
    revision: parseCommitSha(ours),
    syncStartedAt: operationState?.startedAt,
    syncEndedAt: operationState?.finishedAt,
    workload: { kind: found?.kind ?? '', namespace: found?.namespace ?? '', name: found?.name ?? '' },
    pods: running.map(({ metadata }) => metadata.name),
    rolledOutAt: new Date().toISOString(),
  };
  return { synced, rollout: rolloutOf(running) };
}

/** The workload of the manifest, as the cluster has it, and its pods. */
async function workloadIn(
  api: KubernetesApi,
  application: Application,
  relations: Relations,
  signal: AbortSignal,
) {
  const named = await relations.workload();
  const plural = WORKLOADS[named.kind]; // others are Argo CD's to judge
  // Kustomize may put something before or behind a name.
  const resource = (application.status?.resources ?? []).find(
    ({ kind, name }) => kind === named.kind && name?.includes(named.name),
  );
  if (!plural || !resource?.name || !resource.namespace) return undefined;
  const { namespace, name } = resource;
  try {
    const workload = await api.get<Deployment>(resourcePath('apps/v1', namespace, plural, name), {}, signal);
    const { items } = await api.get<{ items: Pod[] }>(
      resourcePath('v1', namespace, 'pods'),
      { labelSelector: selectorOf(workload) },
      signal,
    );
    return { workload, pods: items, kind: named.kind, namespace, name };
  } catch (error) {
    if (error instanceof ApiError && error.code === 404) return undefined;
    throw asProblem(error, `read ${named.kind} ${namespace}/${name}`);
  }
}
