// The database as whoever reads or writes rows has it, of either kind.
import type { PgDatabase, PgQueryResultHKT } from 'drizzle-orm/pg-core';
import type * as schema from './schema.js';

export type Database = PgDatabase<PgQueryResultHKT, typeof schema>;
/** What is deployed to, and up to where it was looked for changes by hand. */
export type ScannedTarget = typeof schema.targets.$inferSelect;
