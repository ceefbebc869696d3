// How rows come into the store's tables, within a transaction. Idempotent: whatever is written again stays as it is.
import { and, eq, getTableColumns, inArray, notInArray, type SQL, sql } from 'drizzle-orm';
import type { PgColumn, PgTable } from 'drizzle-orm/pg-core';
import type { Database, ScannedTarget } from './database.js';
import type { LineageRecord } from './record.js';
import * as schema from './schema.js';

const { attestations, deployments, pods, releases, targets } = schema;

/** Rows a statement: PostgreSQL takes 65535 parameters. */
export const CHUNK = 500;

export type Transaction = Parameters<Parameters<Database['transaction']>[0]>[0];

/** An older state of a release never replaces a newer one. */
export async function putReleases(tx: Transaction, records: readonly LineageRecord[]): Promise<void> {
  const taken = await tx
    .insert(releases)
    .values(records.map(({ release }) => release))
    .onConflictDoUpdate({
      target: releases.id,
      set: excluded(releases, ['id']),
      setWhere: sql`(excluded.run_started_at, excluded.events) >= (${releases.runStartedAt}, ${releases.events})`,
    })
    .returning({ id: releases.id });
  const ids = new Set(taken.map(({ id }) => id));
  const newer = records.filter(({ release }) => ids.has(release.id));
  if (newer.length === 0) return;
  const own = inArray(pods.release, [...ids]);
  const podRows = newer.flatMap((record) => record.pods);
  const deploymentRows = newer.flatMap((record) => record.deployments);
  // A reset may have taken back what was there.
  await tx.delete(pods).where(
    without(
      own,
      pods.name,
      podRows.map(({ name }) => name),
    ),
  );
  await tx.delete(deployments).where(
    without(
      and(inArray(deployments.release, [...ids]), eq(deployments.cause, 'release')),
      deployments.commit,
      deploymentRows.map(({ commit }) => commit),
    ),
  );
  for (const some of chunks(podRows, CHUNK)) {
    await tx
      .insert(pods)
      .values([...some])
      .onConflictDoUpdate({
        target: [pods.release, pods.namespace, pods.name],
        set: excluded(pods, ['release', 'namespace', 'name']),
      });
  }
  await putDeployments(tx, deploymentRows);
  const signed = newer.flatMap((record) => record.attestations);
  await tx.delete(attestations).where(
    without(
      inArray(attestations.release, [...ids]),
      attestations.statement,
      signed.map(({ statement }) => statement),
    ),
  );
  for (const some of chunks(signed, CHUNK))
    await tx
      .insert(attestations)
      .values([...some])
      .onConflictDoUpdate({
        target: [attestations.release, attestations.statement],
        set: excluded(attestations, ['release', 'statement']),
      });
}

/** What a release made is not replaced by what was seen of it from outside. */
export async function putDeployments(tx: Transaction, rows: readonly schema.DeploymentRow[]): Promise<void> {
  for (const some of chunks(rows, CHUNK)) {
    const of = some.map(({ environment, model, repository, manifest, branch }) => ({
      environment,
      model,
      repository,
      manifest,
      branch,
    }));
    await tx
      .insert(targets)
      .values([...new Map(of.map((target) => [JSON.stringify(target), target])).values()])
      .onConflictDoNothing();
    await tx
      .insert(deployments)
      .values([...some])
      .onConflictDoUpdate({
        target: [
          deployments.commit,
          deployments.environment,
          deployments.model,
          deployments.repository,
          deployments.manifest,
        ],
        set: excluded(deployments, ['commit', 'environment', 'model', 'repository', 'manifest']),
        setWhere: sql`excluded.cause = 'release' or ${deployments.cause} <> 'release'`,
      });
  }
}

function without(condition: SQL | undefined, column: PgColumn, values: readonly string[]): SQL | undefined {
  return values.length > 0 ? and(condition, notInArray(column, [...values])) : condition;
}

/** Every column as the refused row has it (PostgreSQL, INSERT … ON CONFLICT DO UPDATE). */
export function excluded(table: PgTable, key: readonly string[]): Record<string, SQL> {
  return Object.fromEntries(
    Object.entries(getTableColumns(table))
      .filter(([name]) => !key.includes(name))
      .map(([name, column]) => [name, sql.raw(`excluded."${column.name}"`)]),
  );
}

export function* chunks<T>(all: readonly T[], size: number): Generator<readonly T[]> {
  for (let from = 0; from < all.length; from += size) yield all.slice(from, from + size);
}

export function ofTarget(
  table: typeof targets | typeof deployments,
  { environment, model, repository, manifest }: Omit<ScannedTarget, 'scanned'>,
): SQL | undefined {
  return and(
    eq(table.environment, environment),
    eq(table.model, model),
    eq(table.repository, repository),
    eq(table.manifest, manifest),
  );
}
