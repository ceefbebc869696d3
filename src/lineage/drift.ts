// What is kept of drift: what should run by the lineage, and what the last look at each target has found.
import { and, desc, eq, isNotNull, isNull, sql } from 'drizzle-orm';
import { alias } from 'drizzle-orm/pg-core';
import { type Drift, type DriftCheck, type ExpectedState, targetKey } from '../domain/drift.js';
import { parseTraceparent } from '../domain/trace.js';
import type { DriftAnswer, DriftedTarget } from './answer.js';
import type { Database } from './database.js';
import { deployments, drifts, releases, targets } from './schema.js';
import { reach } from './store.js';
import { CHUNK, chunks, excluded } from './write.js';

/** What somebody brings back by hand, nobody waits for: that long it may take to be rolled out. */
const BY_HAND_MS = 10 * 60_000;

/** Every target that something was rolled out to, with what that was. */
export async function expectedStates(database: Database, now = new Date()): Promise<ExpectedState[]> {
  const ofTarget = (of: typeof deployments) =>
    and(
      eq(of.environment, targets.environment),
      eq(of.model, targets.model),
      eq(of.repository, targets.repository),
      eq(of.manifest, targets.manifest),
    );
  const last = database
    .select({
      release: deployments.release,
      commit: deployments.commit,
      imageDigest: deployments.imageDigest,
      cause: deployments.cause,
      servedFrom: deployments.servedFrom,
    })
    .from(deployments)
    .where(and(ofTarget(deployments), isNotNull(deployments.servedFrom)))
    .orderBy(desc(deployments.servedFrom))
    .limit(1)
    .as('last');
  // What was brought back by hand was waited for by nobody: it runs where the others did.
  const placed = database
    .select({
      kind: sql<string | null>`${deployments.workloadKind}`.as('placed_kind'),
      namespace: sql<string | null>`${deployments.workloadNamespace}`.as('placed_namespace'),
      name: sql<string | null>`${deployments.workload}`.as('placed_name'),
    })
    .from(deployments)
    .where(and(ofTarget(deployments), isNotNull(deployments.workload)))
    .orderBy(desc(deployments.servedFrom))
    .limit(1)
    .as('placed');
  const open = alias(releases, 'open');
  const under = database
    .select({ deploying: sql<string | null>`${deployments.release}`.as('deploying') })
    .from(deployments)
    .innerJoin(open, eq(open.id, deployments.release))
    .where(and(ofTarget(deployments), isNull(deployments.servedFrom), isNull(open.endedAt)))
    .limit(1)
    .as('under');
  const rows = await reach(() =>
    database
      .select({
        target: targets,
        last: {
          release: last.release,
          commit: last.commit,
          imageDigest: last.imageDigest,
          cause: last.cause,
          servedFrom: last.servedFrom,
        },
        placed: { kind: placed.kind, namespace: placed.namespace, name: placed.name },
        deploying: under.deploying,
        release: releases,
      })
      .from(targets)
      .innerJoinLateral(last, sql`true`)
      .leftJoinLateral(placed, sql`true`)
      .leftJoinLateral(under, sql`true`)
      .leftJoin(releases, eq(releases.id, last.release))
      .orderBy(targets.environment, targets.model, targets.repository, targets.manifest),
  );
  return rows.flatMap(({ target, last: current, placed: place, deploying, release }) => {
    // Somebody has taken it away: nothing is to run there.
    if (current.release === null && current.imageDigest === null) return [];
    const { environment, model, repository, branch, manifest } = target;
    const fresh =
      current.cause === 'rollback' && now.getTime() - Number(current.servedFrom ?? 0) < BY_HAND_MS;
    return [
      {
        ...{ environment, model, repository, branch, manifest },
        // The pods of a rollback say that they are what it brought back.
        release: release?.rollback?.to.release ?? current.release,
        commit: current.commit,
        image: release?.image ?? null,
        imageDigest: release ? release.imageDigest : current.imageDigest,
        modelId: release?.modelId ?? null,
        modelDigest: release?.modelDigest ?? null,
        traceId: release?.rollback
          ? parseTraceparent(release.rollback.to.traceparent).traceId
          : (release?.traceId ?? null),
        sourceCommit: release?.commit ?? null,
        dataset:
          release?.datasetName && release.datasetVersion
            ? { name: release.datasetName, version: release.datasetVersion }
            : null,
        workload:
          place?.kind && place.namespace && place.name
            ? { kind: place.kind, namespace: place.namespace, name: place.name }
            : null,
        deploying: deploying ?? (fresh ? `commit ${current.commit.slice(0, 12)}` : null),
      },
    ];
  });
}

/** Takes what a look at everything has found. What was there before keeps the time since when it is known. */
export async function putDrift(database: Database, checks: readonly DriftCheck[], at: Date): Promise<void> {
  await reach(() =>
    database.transaction(async (tx) => {
      const known = new Map((await tx.select().from(drifts)).map((row) => [targetKey(row), row]));
      const rows = checks.map(({ drifts: found, unchecked, ...target }) => {
        const before = known.get(targetKey(target));
        const drifted = found.length > 0;
        const since = drifted ? (before?.since ?? at) : null;
        return { ...target, checkedAt: at, since, found, unchecked };
      });
      await tx.delete(drifts).where(sql`true`);
      for (const some of chunks(rows, CHUNK))
        await tx
          .insert(drifts)
          .values([...some])
          .onConflictDoUpdate({
            target: [drifts.environment, drifts.model, drifts.repository, drifts.manifest],
            set: excluded(drifts, ['environment', 'model', 'repository', 'manifest']),
          });
    }),
  );
}

/** What the last look has found. */
export async function driftOf(database: Database, environment: string | undefined): Promise<DriftAnswer> {
  const rows = await reach(() =>
    database
      .select()
      .from(drifts)
      .where(environment === undefined ? undefined : eq(drifts.environment, environment))
      .orderBy(drifts.environment, drifts.model, drifts.repository, drifts.manifest),
  );
  const checkedAt = rows.map((row) => row.checkedAt.toISOString()).sort();
  return {
    checkedAt: checkedAt.at(-1) ?? null,
    targets: rows.map(
      ({ environment: of, model, repository, branch, manifest, release, since, found, unchecked }) =>
        ({
          ...{ environment: of, model, repository, branch, manifest, release },
          since: since?.toISOString() ?? null,
          drifts: found as readonly Drift[],
          unchecked,
        }) satisfies DriftedTarget,
    ),
  };
}
