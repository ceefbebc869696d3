// What is kept of releases, for as long as anybody may ask (I8). Everything in here is a function of Temporal's histories
// and of the GitOps repositories (record.ts), so all of it can be made again. One dialect, PostgreSQL's, which the
// embedded store speaks too; migrations/ is generated from this file (`npm run migrations`).
import { sql } from 'drizzle-orm';
import {
  customType,
  index,
  integer,
  jsonb,
  pgTable,
  primaryKey,
  text,
  timestamp,
  uuid,
} from 'drizzle-orm/pg-core';
import type { ApprovalRecord } from '../domain/approval.js';
import type { Drift } from '../domain/drift.js';
import type { Problem } from '../domain/errors.js';
import type { BaseImage, NonFinite, Outcome, Rollback, StageStatus } from '../domain/release.js';
import type { RunEvent } from './openlineage-event.js';

/** What is looked up by how it begins: in the order of its bytes, whatever the database's locale. */
const bytewise = customType<{ data: string }>({ dataType: () => 'text collate "C"' });
const time = (name: string) => timestamp(name, { withTimezone: true, precision: 3, mode: 'date' });

/** A stage and how long it took. Times are ISO 8601, UTC. */
export interface StageTimes {
  readonly name: string;
  readonly status: StageStatus;
  readonly startedAt: string;
  readonly endedAt?: string | undefined;
}

export const releases = pgTable(
  'releases',
  {
    id: text().primaryKey(),
    status: text().$type<'RUNNING' | Outcome['status']>().notNull(),
    model: text(),
    repository: text().notNull(),
    ref: text().notNull(),
    planPath: text('plan_path').notNull(),
    commit: bytewise(),
    datasetName: text('dataset_name'),
    datasetVersion: text('dataset_version'),
    datasetDigest: text('dataset_digest'),
    parameters: jsonb().$type<Readonly<Record<string, string>>>().notNull(),
    metrics: jsonb().$type<Readonly<Record<string, number | NonFinite>>>(),
    /** Of the training Job; without one (the local runtime) the job has no namespace. */
    jobNamespace: text('job_namespace'),
    job: text(),
    trainerImage: text('trainer_image'),
    trainerDigest: text('trainer_digest'),
    trainingStartedAt: time('training_started_at'),
    trainingEndedAt: time('training_ended_at'),
    modelId: text('model_id'),
    modelDigest: text('model_digest'),
    modelUri: text('model_uri'),
    /** Repository and tag, and the repository alone. */
    image: text(),
    imageRepository: text('image_repository'),
    imageDigest: text('image_digest'),
    baseImages: jsonb('base_images').$type<readonly BaseImage[]>(),
    traceId: bytewise('trace_id').notNull(),
    traceparent: text().notNull(),
    /** Spans of the release's trace, Temporal's run ids, and digests of base images. */
    ids: text().array().notNull(),
    execution: text(),
    requestedBy: text('requested_by'),
    triggeredBy: text('triggered_by'),
    approvals: jsonb().$type<readonly ApprovalRecord[]>(),
    /** Where the plan deploys to. */
    environments: text().array(),
    requestedAt: time('requested_at').notNull(),
    startedAt: time('started_at').notNull(),
    endedAt: time('ended_at'),
    /** Where it brought an earlier release back: which one, and instead of which. */
    rollback: jsonb().$type<Rollback>(),
    problem: jsonb().$type<Problem>(),
    stages: jsonb().$type<readonly StageTimes[]>().notNull(),
    /** How much of its history this is: an older state never replaces a newer one. */
    runStartedAt: time('run_started_at').notNull(),
    events: integer().notNull(),
  },
  (table) => [
    index('releases_model').on(table.model, table.requestedAt),
    index('releases_commit').on(table.commit),
    index('releases_dataset').on(table.datasetName, table.datasetVersion, table.requestedAt),
    index('releases_dataset_digest').on(table.datasetDigest),
    index('releases_job').on(table.job),
    index('releases_trainer').on(table.trainerDigest),
    index('releases_model_id').on(table.modelId),
    index('releases_model_digest').on(table.modelDigest),
    index('releases_image').on(table.imageRepository, table.requestedAt),
    index('releases_image_digest').on(table.imageDigest),
    index('releases_trace').on(table.traceId),
    index('releases_execution').on(table.execution),
    index('releases_ids').using('gin', table.ids),
    // What is not closed: read at every start, and always few.
    index('releases_open').on(table.id).where(sql`${table.endedAt} is null`),
  ],
);

/** Pods that trained a model, and those that a roll-out ended with. */
export const pods = pgTable(
  'pods',
  {
    release: text()
      .notNull()
      .references(() => releases.id, { onDelete: 'cascade' }),
    namespace: text().notNull(),
    name: bytewise().notNull(),
    /** Empty for a training pod. */
    environment: text().notNull(),
    uid: text(),
    node: text(),
    image: text(),
    createdAt: time('created_at'),
    startedAt: time('started_at'),
    endedAt: time('ended_at'),
    exitCode: integer('exit_code'),
    ending: text(),
  },
  (table) => [
    primaryKey({ columns: [table.release, table.namespace, table.name] }),
    index('pods_name').on(table.name),
    index('pods_uid').on(table.uid),
  ],
);

/**
 * A commit to a GitOps repository that says which image an environment runs: a release's own, or somebody else's, who
 * went back to an older release. It ends where the next one of the same target begins.
 */
export const deployments = pgTable(
  'deployments',
  {
    /** Whose image it is; null where no release that is known has made it. */
    release: text().references(() => releases.id, { onDelete: 'cascade' }),
    environment: text().notNull(),
    model: text().notNull(),
    repository: text().notNull(),
    branch: text().notNull(),
    manifest: text().notNull(),
    commit: bytewise().notNull(),
    /** `release` where one has made the commit; by hand, `rollback` brings one back, `other` is no release that is known. */
    cause: text().$type<'release' | 'rollback' | 'other'>().notNull(),
    imageDigest: text('image_digest'),
    application: text(),
    /** What Argo CD synced: the commit, or a descendant that keeps it. */
    revision: bytewise(),
    workloadKind: text('workload_kind'),
    workloadNamespace: text('workload_namespace'),
    workload: text(),
    committedAt: time('committed_at'),
    /** When it was rolled out; null where it is not known to have been. */
    servedFrom: time('served_from'),
  },
  (table) => [
    primaryKey({ columns: [table.commit, table.environment, table.model, table.repository, table.manifest] }),
    index('deployments_release').on(table.release),
    index('deployments_target').on(
      table.environment,
      table.model,
      table.repository,
      table.manifest,
      table.servedFrom,
    ),
    index('deployments_environment').on(table.environment, table.servedFrom),
    index('deployments_digest').on(table.imageDigest),
    index('deployments_workload').on(table.workload, table.workloadNamespace),
  ],
);

/** What a release has signed: the same as lies beside its artifacts, for when the registry no longer has it. */
export const attestations = pgTable(
  'attestations',
  {
    release: text()
      .notNull()
      .references(() => releases.id, { onDelete: 'cascade' }),
    /** SHA-256 of the statement, in hex. */
    statement: text().notNull(),
    predicateType: text('predicate_type').notNull(),
    /** `repository@sha256:…` */
    beside: text().notNull(),
    /** A Sigstore bundle. */
    bundle: jsonb().$type<unknown>().notNull(),
  },
  (table) => [primaryKey({ columns: [table.release, table.statement] })],
);

/** What is deployed to: a model in a manifest of an environment. */
export const targets = pgTable(
  'targets',
  {
    environment: text().notNull(),
    model: text().notNull(),
    repository: text().notNull(),
    manifest: text().notNull(),
    branch: text().notNull(),
    /** The commit of the branch up to which it was looked for changes by hand. */
    scanned: text(),
  },
  (table) => [primaryKey({ columns: [table.environment, table.model, table.repository, table.manifest] })],
);

/** What the last look at a target has found that is not what was released. No function of histories: of the world. */
export const drifts = pgTable(
  'drifts',
  {
    environment: text().notNull(),
    model: text().notNull(),
    repository: text().notNull(),
    manifest: text().notNull(),
    branch: text().notNull(),
    /** What should run there; null where somebody has put something else. */
    release: text(),
    checkedAt: time('checked_at').notNull(),
    /** When a look found something first; null where there is nothing. */
    since: time('since'),
    found: jsonb().$type<readonly Drift[]>().notNull(),
    unchecked: text().array().$type<readonly string[]>().notNull(),
  },
  (table) => [primaryKey({ columns: [table.environment, table.model, table.repository, table.manifest] })],
);

/** Events for a data catalogue, written with what they tell of. One that was sent stays as a mark, so that it is not sent again. */
export const outbox = pgTable(
  'outbox',
  {
    id: text().primaryKey(),
    at: time('at').notNull(),
    n: integer().notNull(),
    /** Null when it has been sent. */
    event: jsonb().$type<RunEvent>(),
  },
  (table) => [index('outbox_unsent').on(table.at, table.n, table.id).where(sql`${table.event} is not null`)],
);

/** What callers have done through gateways, or wanted to. Rows are added, and never changed: a trigger sees to that. */
export const audit = pgTable(
  'audit',
  {
    id: uuid().primaryKey(),
    at: time('at').notNull(),
    /** Whose credentials they were; null where nobody's. */
    actor: text(),
    address: text().notNull(),
    gateway: text().notNull(),
    action: text().notNull(),
    /** The release. */
    target: text(),
    outcome: text().$type<'accepted' | 'refused'>().notNull(),
    status: integer().notNull(),
    code: text(),
  },
  (table) => [index('audit_at').on(table.at, table.id), index('audit_target').on(table.target)],
);

/** How far the histories of a Temporal namespace have been read. One row each. */
export const positions = pgTable('positions', {
  source: text().primaryKey(),
  /** Every release that closed before this is here. */
  closedUntil: time('closed_until').notNull(),
});

export type AuditRow = typeof audit.$inferSelect;
export type ReleaseRow = typeof releases.$inferInsert;
export type AttestationRow = typeof attestations.$inferInsert;
export type PodRow = typeof pods.$inferInsert;
export type DeploymentRow = typeof deployments.$inferInsert;
