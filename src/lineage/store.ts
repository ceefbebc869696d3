// The store itself: rows in, rows out. Over PostgreSQL, or embedded over a directory that one process has to itself.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PGlite } from '@electric-sql/pglite';
import { and, eq, gt, inArray, isNotNull, max, notInArray, sql } from 'drizzle-orm';
import { drizzle as drizzlePg } from 'drizzle-orm/node-postgres';
import { migrate as migratePg } from 'drizzle-orm/node-postgres/migrator';
import { drizzle as drizzlePglite } from 'drizzle-orm/pglite';
import { migrate as migratePglite } from 'drizzle-orm/pglite/migrator';
import { Client, Pool } from 'pg';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import type { Database, ScannedTarget } from './database.js';
import type { Outgoing } from './openlineage.js';
import type { LineageRecord } from './record.js';
import * as schema from './schema.js';
import { DATABASE_URL, DATABASE_URL_FORM } from './url.js';
import { CHUNK, chunks, ofTarget, putDeployments, putReleases } from './write.js';

const { attestations, deployments, drifts, outbox, pods, positions, releases, targets } = schema;

/** Beside this file, in the sources and where it is built. */
const MIGRATIONS = fileURLToPath(new URL('migrations', import.meta.url));
/** Any number, the same for all: who migrates. */
const MIGRATION_LOCK = 7_401_886_532;

/** Where `throughline dev` has its own, below its data directory. */
export const embeddedStore = (data: string) => join(data, 'lineage');

export interface StoreLocation {
  /** `postgres://…`; the password may come by PGPASSWORD or a service file instead. */
  readonly url?: string | undefined;
  /** Where the embedded store lies. One process at a time. */
  readonly directory?: string | undefined;
}

/** A commit that its release has made, and when it was rolled out, where that is known. */
export interface MadeCommit {
  readonly release: string;
  readonly servedFrom: Date | undefined;
}
export type ReleaseImage = Pick<typeof releases.$inferSelect, 'model' | 'imageDigest'>;

/** A position in a Temporal namespace's histories. */
export interface Position {
  readonly source: string;
  readonly closedUntil: Date;
}

export class LineageStore {
  private constructor(
    readonly database: Database,
    private readonly end: () => Promise<void>,
  ) {}

  /** Opens the store and brings its tables up to date, whoever else does at the same time. */
  static async open({ url, directory }: StoreLocation): Promise<LineageStore> {
    try {
      return url ? await LineageStore.postgres(url) : await LineageStore.embedded(directory);
    } catch (cause) {
      throw away(cause);
    }
  }

  private static async postgres(url: string): Promise<LineageStore> {
    if (!DATABASE_URL.test(url)) {
      // Without what was found: it may hold a password (I9).
      throw new ThroughlineError('TL_CONFIG_INVALID', 'The database’s URL is not usable', {
        expected: DATABASE_URL_FORM,
      });
    }
    const client = new Client({ connectionString: url, connectionTimeoutMillis: 5_000 });
    client.on('error', () => undefined); // said by the query that runs into it
    await client.connect();
    try {
      await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
      await migratePg(drizzlePg(client), { migrationsFolder: MIGRATIONS });
    } finally {
      await client.end(); // and with it the lock
    }
    const pool = new Pool({ connectionString: url, max: 4, connectionTimeoutMillis: 5_000 });
    pool.on('error', () => undefined);
    return new LineageStore(drizzlePg(pool, { schema }), () => pool.end());
  }

  private static async embedded(directory: string | undefined): Promise<LineageStore> {
    if (directory) await mkdir(directory, { recursive: true, mode: 0o700 });
    const client = await PGlite.create({ ...(directory ? { dataDir: directory } : {}) });
    const database = drizzlePglite(client, { schema });
    await migratePglite(database, { migrationsFolder: MIGRATIONS });
    return new LineageStore(database, () => client.close());
  }

  close(): Promise<void> {
    return this.end();
  }

  /**
   * Takes what is known of releases by now, in one transaction: all of it or nothing. Idempotent; an older state of a
   * release never replaces a newer one.
   */
  async put(
    records: readonly LineageRecord[],
    position?: Position,
    events: readonly Outgoing[] = [],
  ): Promise<void> {
    if (records.length === 0 && !position) return;
    await reach(() =>
      this.database.transaction(async (tx) => {
        for (const some of chunks(records, CHUNK)) await putReleases(tx, some);
        for (const some of chunks(events, CHUNK))
          await tx
            .insert(outbox)
            .values([...some])
            .onConflictDoNothing();
        if (position) {
          const { source, closedUntil } = position;
          await tx
            .insert(positions)
            .values({ source, closedUntil })
            .onConflictDoUpdate({
              target: positions.source,
              set: { closedUntil },
              setWhere: gt(sql`excluded.closed_until`, positions.closedUntil),
            });
        }
      }),
    );
  }

  /** Every release of the source that closed before this time is here. */
  async position(source: string): Promise<Date | undefined> {
    const [found] = await reach(() =>
      this.database.select().from(positions).where(eq(positions.source, source)),
    );
    return found?.closedUntil;
  }

  /** Of some releases, those that are here with their end. */
  async ended(ids: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const found = new Map<string, readonly string[]>();
    for (const some of chunks(ids, 10_000)) {
      const rows = await reach(() =>
        this.database
          .select({ id: releases.id, ids: releases.ids })
          .from(releases)
          .where(and(inArray(releases.id, [...some]), sql`${releases.endedAt} is not null`)),
      );
      for (const row of rows) found.set(row.id, row.ids);
    }
    return found;
  }

  /** Events that are still to be sent, the oldest first. */
  unsent(limit: number): Promise<{ readonly id: string; readonly event: unknown }[]> {
    return reach(() =>
      this.database
        .select({ id: outbox.id, event: outbox.event })
        .from(outbox)
        .where(isNotNull(outbox.event))
        .orderBy(outbox.at, outbox.n, outbox.id)
        .limit(limit),
    );
  }

  /** An event has been taken. */
  async sent(id: string): Promise<void> {
    await reach(() => this.database.update(outbox).set({ event: null }).where(eq(outbox.id, id)));
  }

  /** Everything that is deployed to. */
  targets(): Promise<ScannedTarget[]> {
    return reach(() =>
      this.database
        .select()
        .from(targets)
        .orderBy(targets.repository, targets.branch, targets.environment, targets.model),
    );
  }

  /** Model and image of some releases, as far as they are known. */
  async images(ids: readonly string[]): Promise<ReadonlyMap<string, ReleaseImage>> {
    if (ids.length === 0) return new Map();
    const rows = await reach(() =>
      this.database
        .select({ id: releases.id, model: releases.model, imageDigest: releases.imageDigest })
        .from(releases)
        .where(inArray(releases.id, [...ids])),
    );
    return new Map(rows.map(({ id, ...image }) => [id, image]));
  }

  /**
   * Which of these commits their releases have made: their trailers say so, and a cherry-pick's say so too. Of a release
   * that is not known to have ended, the trailers are believed.
   */
  async madeBy(
    commits: readonly { readonly commit: string; readonly release: string }[],
  ): Promise<ReadonlyMap<string, MadeCommit>> {
    if (commits.length === 0) return new Map();
    const ids = [...new Set(commits.map(({ release }) => release))];
    const [ended, made] = await reach(() =>
      Promise.all([
        this.database
          .select({ id: releases.id })
          .from(releases)
          .where(and(inArray(releases.id, ids), sql`${releases.endedAt} is not null`)),
        this.database
          .select({
            commit: deployments.commit,
            release: deployments.release,
            servedFrom: deployments.servedFrom,
          })
          .from(deployments)
          .where(and(inArray(deployments.release, ids), eq(deployments.cause, 'release'))),
      ]),
    );
    const known = new Set(ended.map(({ id }) => id));
    const own = new Map(made.map(({ commit, release, servedFrom }) => [`${commit} ${release}`, servedFrom]));
    return new Map(
      commits
        .filter(({ commit, release }) => own.has(`${commit} ${release}`) || !known.has(release))
        .map(({ commit, release }) => [
          commit,
          { release, servedFrom: own.get(`${commit} ${release}`) ?? undefined },
        ]),
    );
  }

  /** When the target's last deployment was rolled out, some commits left out. */
  async lastServed(
    target: Omit<ScannedTarget, 'scanned'>,
    without: readonly string[],
  ): Promise<Date | undefined> {
    const [row] = await reach(() =>
      this.database
        .select({ at: max(deployments.servedFrom) })
        .from(deployments)
        .where(
          and(
            ofTarget(deployments, target),
            ...(without.length > 0 ? [notInArray(deployments.commit, [...without])] : []),
          ),
        ),
    );
    return row?.at ?? undefined;
  }

  /** Takes what was done to a target by hand, and up to which commit that is known, in one transaction. */
  async putByHand(
    target: Omit<ScannedTarget, 'scanned'>,
    rows: readonly schema.DeploymentRow[],
    scanned: string,
  ): Promise<void> {
    await reach(() =>
      this.database.transaction(async (tx) => {
        await putDeployments(tx, rows);
        await tx.update(targets).set({ scanned }).where(ofTarget(targets, target));
      }),
    );
  }

  /** Forgets everything. The tables stay. */
  async clear(): Promise<void> {
    await reach(() =>
      this.database.execute(
        sql`truncate ${attestations}, ${drifts}, ${outbox}, ${deployments}, ${pods}, ${targets}, ${releases}, ${positions}`,
      ),
    );
  }
}

/** Opens the store when it is first needed, and again where that failed: a process may start before its database. */
export class StoreHandle {
  private opened: Promise<LineageStore> | undefined;

  constructor(private readonly location: StoreLocation) {}

  /** Throws TL_STORE_UNREACHABLE. */
  open(): Promise<LineageStore> {
    this.opened ??= LineageStore.open(this.location).catch((error) => {
      this.opened = undefined;
      throw error;
    });
    return this.opened;
  }

  async close(): Promise<void> {
    const opened = await this.opened?.catch(() => undefined);
    this.opened = undefined;
    await opened?.close();
  }
}

/** Runs a query; a database that is away has a problem of its own. */
export async function reach<T>(query: () => PromiseLike<T>): Promise<T> {
  try {
    return await query();
  } catch (cause) {
    throw away(cause);
  }
}

/** PostgreSQL's classes of errors: connection, insufficient resources, operator intervention, system. */
const AWAY = /^(?:08|53|57|58)/;
const NETWORK = /^E(?:CONN|HOST|NET|PIPE|TIMEDOUT|AI_AGAIN|NOTFOUND)/;

function away(cause: unknown): unknown {
  if (cause instanceof ThroughlineError) return cause;
  const root = rootOf(cause);
  const code = String((root as { code?: unknown }).code ?? '');
  const said = messageOf(root);
  const gone = AWAY.test(code) || NETWORK.test(code) || /terminat|timeout|connection/i.test(said);
  return gone
    ? new ThroughlineError('TL_STORE_UNREACHABLE', 'The lineage store does not answer', {
        found: said,
        cause,
      })
    : cause;
}

/** Drizzle says "Failed query", and why in its cause. */
function rootOf(error: unknown): unknown {
  let root = error;
  while (root instanceof Error && root.cause instanceof Error) root = root.cause;
  return root instanceof AggregateError ? (root.errors[0] ?? root) : root;
}
