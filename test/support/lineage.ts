// Lineage out of the histories that are kept: rows of real releases, and small variations of them.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { sql } from 'drizzle-orm';
import type { LineageStore } from '../../src/lineage/index.js';
import type { LineageRecord } from '../../src/lineage/record.js';
import { type HistoryEvent, type ReleaseRun, readRun } from '../../src/telemetry/history.js';

export const HISTORIES = fileURLToPath(new URL('../histories', import.meta.url));

/** Those of releases; a writer of a branch has histories, too. */
export const keptHistories = readdirSync(HISTORIES, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.json') && !name.endsWith('writer.json'))
  .sort();

const runIdOf = (name: string) =>
  createHash('sha256')
    .update(name)
    .digest('hex')
    .replace(/^(.{8})(.{4})(.{4})(.{4})(.{12}).*$/, '$1-$2-$3-$4-$5');

/** The run of a kept history, up to an event where one is given. */
export function keptRun(name: string, runId = runIdOf(name), events?: number): ReleaseRun {
  const { events: all } = historyFromJSON(JSON.parse(readFileSync(join(HISTORIES, name), 'utf8')));
  return readRun(runId, ((all ?? []) as HistoryEvent[]).slice(0, events));
}

export interface Variation {
  readonly id: string;
  readonly digest: string;
  readonly commit: string;
  readonly servedFrom?: string | undefined;
  readonly environment?: string;
  readonly model?: string;
}

/** Another release of the same model, as if it had been made at another time. */
export function another(
  of: LineageRecord,
  { id, digest, commit, servedFrom, environment = 'production', model }: Variation,
): LineageRecord {
  const name = model ?? of.release.model ?? '';
  return {
    release: { ...of.release, id, model: name, imageDigest: digest, ids: [`id of ${id}`] },
    pods: of.pods.map((pod) => ({ ...pod, release: id, name: `${pod.name}-${id}` })),
    deployments: of.deployments.map((deployment) => ({
      ...deployment,
      release: id,
      model: name,
      environment,
      commit,
      imageDigest: digest,
      servedFrom: servedFrom ? new Date(servedFrom) : null,
    })),
    attestations: of.attestations.map((attestation) => ({ ...attestation, release: id })),
  };
}

/** Every row of every table, in an order of its own. */
export async function dump({ database }: LineageStore): Promise<Record<string, unknown[]>> {
  const tables = ['releases', 'pods', 'deployments', 'targets', 'attestations'];
  const rows = await Promise.all(
    tables.map(async (table) => {
      const result = await database.execute(
        sql.raw(`select to_jsonb(t) as row from ${table} t order by to_jsonb(t)::text`),
      );
      return (result as unknown as { rows: { row: unknown }[] }).rows.map(({ row }) => row);
    }),
  );
  return Object.fromEntries(tables.map((table, index) => [table, rows[index] ?? []]));
}
