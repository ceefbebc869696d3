// Releases that have ended, as the store has them, for when Temporal has forgotten them: a trigger that is repeated after a month
// is still the same release (I1), and can still be looked at.
import { and, eq, isNotNull } from 'drizzle-orm';
import type { CommitSha, ReleaseId } from '../domain/ids.js';
import type { Outcome, ReleaseRecord, StageType } from '../domain/release.js';
import type { Database } from './database.js';
import { deployments, releases } from './schema.js';
import { reach } from './store.js';

/** The record of a release that has ended; undefined where none is known. */
export async function archivedRelease(database: Database, id: string): Promise<ReleaseRecord | undefined> {
  const [row] = await reach(() =>
    database
      .select()
      .from(releases)
      .where(and(eq(releases.id, id), isNotNull(releases.endedAt))),
  );
  if (!row || row.status === 'RUNNING') return undefined;
  const made = await reach(() =>
    database
      .select()
      .from(deployments)
      .where(and(eq(deployments.release, id), eq(deployments.cause, 'release'))),
  );
  const job = row.jobNamespace ? `${row.jobNamespace}/${row.job}` : row.job;
  return {
    release: row.id as ReleaseId,
    status: row.status,
    request: {
      repository: row.repository,
      ref: row.ref,
      planPath: row.planPath,
      parameters: row.parameters,
      requestedAt: row.requestedAt.toISOString(),
      requestedBy: row.requestedBy ?? undefined,
      triggeredBy: row.triggeredBy ?? undefined,
      spinnaker: row.execution === null ? undefined : { executionId: row.execution },
    },
    traceId: row.traceId,
    traceparent: row.traceparent,
    model: row.model ?? undefined,
    commit: (row.commit as CommitSha | null) ?? undefined,
    dataset:
      row.datasetName && row.datasetVersion
        ? { name: row.datasetName, version: row.datasetVersion, digest: row.datasetDigest ?? undefined }
        : undefined,
    training:
      row.modelId && row.modelDigest && job
        ? {
            id: row.modelId,
            uri: row.modelUri ?? '',
            digest: row.modelDigest as never,
            metrics: row.metrics ?? {},
            job,
            image: row.trainerImage ?? undefined,
            attempts: 1,
            startedAt: row.trainingStartedAt?.toISOString() ?? '',
            endedAt: row.trainingEndedAt?.toISOString() ?? '',
          }
        : undefined,
    image:
      row.image && row.imageDigest
        ? {
            name: row.image,
            digest: row.imageDigest as never,
            reference: `${row.image}@${row.imageDigest}`,
            location: row.image,
          }
        : undefined,
    environments: row.environments ?? [],
    approvals: row.approvals ?? [],
    rollback: row.rollback ?? undefined,
    deployments: made.map(({ environment, repository, branch, manifest, commit }) => ({
      environment,
      repository,
      branch,
      manifest,
      commit: commit as CommitSha,
    })),
    stages: row.stages.map((stage) => ({ ...stage, type: typeOf(stage.name) })),
    outcome: outcomeOf(row),
    endedAt: row.endedAt?.toISOString(),
  };
}

/** A stage is called after what it is, but for these. */
function typeOf(name: string): StageType {
  if (name.startsWith('roll back ')) return 'deploy';
  return name === 'check evidence' ? 'verify' : (name.split(' ')[0] as StageType);
}

function outcomeOf({ status, problem }: typeof releases.$inferSelect): Outcome {
  if (status === 'SUCCEEDED') return { status };
  if (status === 'CANCELED') return { status, reason: 'canceled' };
  return {
    status: status === 'RUNNING' ? 'FAILED' : status,
    problem: problem ?? { code: 'TL_INTERNAL', message: 'why is not known any more' },
  };
}
