// What callers have done, or wanted to: a log line each, and a row where there is a database. Whoever has changed something
// is answered when that is written, or a moment later where the database is slow: it is caught up with.
import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { messageOf } from '../domain/errors.js';
import { putAudit, readAudit } from '../lineage/audit.js';
import type { AuditRow, StoreHandle } from '../lineage/index.js';
import type { Logger } from '../telemetry/log.js';
import { storeMissing } from './errors.js';

/** How long an answer waits for its row. Milliseconds. */
const PATIENCE_MS = 100;
const AGAIN_MS = 1_000;
const BATCH = 500;
/** Rows that are kept for a database that is away; what is more stands in the log alone. */
const MOST_WAITING = 20_000;
const CLOSE_MS = 5_000;

export type AuditEntry = Omit<AuditRow, 'id' | 'at' | 'gateway'>;

interface Waiting {
  readonly row: AuditRow;
  readonly written: () => void;
}

export class AuditTrail {
  private readonly gateway = `${hostname()}/${process.pid}`;
  private readonly waiting: Waiting[] = [];
  private writing: Promise<void> | undefined;
  private closing = false;

  constructor(
    private readonly log: Logger,
    /** Where rows go; without one the log has them. */
    private readonly store: StoreHandle | undefined,
  ) {}

  async record(entry: AuditEntry): Promise<void> {
    const row: AuditRow = { id: randomUUID(), at: new Date(), gateway: this.gateway, ...entry };
    this.log.info({ audit: row }, 'audit');
    if (!this.store) return;
    if (this.waiting.length >= MOST_WAITING) {
      this.log.error({ audit: row }, 'the audit log is too far behind: this row is here alone');
      return;
    }
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, PATIENCE_MS);
    });
    const written = new Promise<void>((resolve) => {
      this.waiting.push({ row, written: resolve });
    });
    this.writing ??= this.write(this.store).finally(() => {
      this.writing = undefined;
    });
    await Promise.race([written, late]);
    clearTimeout(timer);
  }

  /** Everything that a page of it has, newest first. Throws TL_STORE_UNREACHABLE. */
  async read(filter: Parameters<typeof readAudit>[1]): Promise<AuditRow[]> {
    if (!this.store) throw storeMissing();
    return readAudit((await this.store.open()).database, filter);
  }

  /** Writes what is left, as far as the database takes it. */
  async close(): Promise<void> {
    this.closing = true;
    const late = new Promise((resolve) => setTimeout(resolve, CLOSE_MS).unref());
    await Promise.race([this.writing, late]);
    if (this.waiting.length > 0)
      this.log.error({ rows: this.waiting.length }, 'rows of the audit log stand in the log alone');
  }

  private async write(store: StoreHandle): Promise<void> {
    while (this.waiting.length > 0) {
      const some = this.waiting.slice(0, BATCH);
      try {
        await putAudit(
          (await store.open()).database,
          some.map(({ row }) => row),
        );
      } catch (error) {
        this.log.warn({ error: messageOf(error) }, 'the audit log waits for its database');
        if (this.closing) return;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS).unref());
        continue;
      }
      this.waiting.splice(0, some.length);
      for (const { written } of some) written();
    }
  }
}
