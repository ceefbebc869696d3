// What the release knows of itself, in the form that is attested: the same as the lineage store will have it, to the
// millisecond, so that both make the same statements.
import type { AttestedRelease } from '../domain/attested.js';
import type { ReleaseRecord, ReleaseRequest } from '../domain/release.js';
import { withoutUser } from '../domain/urls.js';

export function attestedOf(
  record: ReleaseRecord,
  request: ReleaseRequest,
  parameters: Readonly<Record<string, string>>,
): AttestedRelease {
  const { commit, dataset, training, image, stages } = record;
  return {
    release: record.release,
    repository: withoutUser(request.repository),
    ref: request.ref,
    planPath: request.planPath,
    commit: commit ?? null,
    dataset: dataset ? `${dataset.name}@${dataset.version}` : null,
    datasetDigest: dataset?.digest ?? null,
    parameters,
    metrics: training?.metrics ?? null,
    training: training
      ? {
          job: training.job,
          image: training.image ?? null,
          startedAt: iso(training.startedAt),
          endedAt: iso(training.endedAt),
        }
      : null,
    rollback: record.rollback ?? null,
    modelId: training?.id ?? null,
    modelDigest: training?.digest ?? null,
    modelUri: training?.uri ?? null,
    image: image?.name ?? null,
    imageDigest: image?.digest ?? null,
    baseImages: image?.baseImages ?? [],
    stages: stages.filter(({ endedAt }) => endedAt),
    deployments: record.deployments.map(({ environment, repository, manifest, commit: made, synced }) => ({
      environment,
      repository,
      manifest,
      commit: made,
      from: iso(synced?.rolledOutAt),
    })),
  };
}

function iso(time: string | undefined): string | null {
  const at = Date.parse(time ?? '');
  return Number.isNaN(at) ? null : new Date(at).toISOString();
}
