// The audit log's rows: added by gateways, read by administrators, changed by nobody (migrations/0001_gateway.sql).
import { and, desc, eq, lt, or } from 'drizzle-orm';
import type { Database } from './database.js';
import { type AuditRow, audit } from './schema.js';
import { reach } from './store.js';

export interface AuditFilter {
  readonly actor?: string | undefined;
  readonly target?: string | undefined;
  readonly outcome?: AuditRow['outcome'] | undefined;
  /** What is older than this row, which an earlier page ended with. */
  readonly before?: { readonly at: Date; readonly id: string } | undefined;
  readonly limit: number;
}

/** Idempotent by the rows' ids. */
export async function putAudit(database: Database, rows: readonly AuditRow[]): Promise<void> {
  if (rows.length === 0) return;
  await reach(() =>
    database
      .insert(audit)
      .values([...rows])
      .onConflictDoNothing(),
  );
}

/** Newest first. */
export function readAudit(database: Database, filter: AuditFilter): Promise<AuditRow[]> {
  const { actor, target, outcome, before, limit } = filter;
  return reach(() =>
    database
      .select()
      .from(audit)
      .where(
        and(
          actor === undefined ? undefined : eq(audit.actor, actor),
          target === undefined ? undefined : eq(audit.target, target),
          outcome === undefined ? undefined : eq(audit.outcome, outcome),
          before && or(lt(audit.at, before.at), and(eq(audit.at, before.at), lt(audit.id, before.id))),
        ),
      )
      .orderBy(desc(audit.at), desc(audit.id))
      .limit(limit),
  );
}
