// Questions to the store. Each is one or two round trips, and each part of them goes by an index, so that they take as
// long with a million releases as with a hundred.
import { and, desc, eq, inArray, type SQL, sql } from 'drizzle-orm';
import type {
  AttestationsAnswer,
  DeploymentWindow,
  ImpactAnswer,
  LineageAnswer,
  Match,
  PodAnswer,
  ReleaseAnswer,
} from './answer.js';
import type { Database } from './database.js';
import { type Candidate, candidatesOf, type Kind, normalizeQuery } from './identify.js';
import { attestations, deployments, pods, releases, targets } from './schema.js';
import { reach } from './store.js';

/** Of what very many releases share, the newest are told. */
export const MOST_RELEASES = 20;

/** When the next one of the same target was rolled out. (Drizzle leaves a table's name out where it is the only one.) */
const servedUntil = sql<Date | null>`(
  select min(next.served_from) from deployments next
  where next.environment = deployments.environment and next.model = deployments.model
    and next.repository = deployments.repository and next.manifest = deployments.manifest
    and next.served_from > deployments.served_from)`.mapWith(deployments.servedFrom);

/** What is told of a deployment. */
type WindowRow = Pick<
  typeof deployments.$inferSelect,
  | 'release'
  | 'environment'
  | 'model'
  | 'repository'
  | 'manifest'
  | 'commit'
  | 'cause'
  | 'imageDigest'
  | 'servedFrom'
>;

/** The same as JSON has it. */
type RanRow = Omit<WindowRow, 'servedFrom'> & {
  readonly servedFrom: string | null;
  readonly until: string | null;
};

interface Found extends Record<string, unknown> {
  readonly kind: Kind;
  readonly id: string;
  readonly release: string;
}

/** Everything that has the id, and the chains of the releases that it leads to. */
export async function find(database: Database, text: string, limit = MOST_RELEASES): Promise<LineageAnswer> {
  const query = normalizeQuery(text);
  const found = await look(database, candidatesOf(query), limit + 1);
  const matches = new Map(found.map(({ kind, id }) => [`${kind} ${id}`, { kind, id } satisfies Match]));
  const ids = [...new Set(found.map(({ release }) => release))];
  return {
    query,
    matches: [...matches.values()],
    releases: (await chainsOf(database, ids)).slice(0, limit),
    more: ids.length > limit,
  };
}

async function look(database: Database, candidates: readonly Candidate[], limit: number): Promise<Found[]> {
  const parts = candidates.flatMap((candidate) => partsOf(candidate));
  if (parts.length === 0) return [];
  const limited = parts.map((part) => sql`(${part} limit ${sql.raw(String(limit))})`);
  const result = await reach(() => database.execute<Found>(sql.join(limited, sql` union all `)));
  return rowsOf(result);
}

/** What was signed by the releases that have the id. */
export async function attestationsOf(database: Database, text: string): Promise<AttestationsAnswer> {
  const query = normalizeQuery(text);
  const found = await look(database, candidatesOf(query), MOST_RELEASES);
  const ids = [...new Set(found.map(({ release }) => release))];
  const rows =
    ids.length === 0
      ? []
      : await reach(() =>
          database
            .select()
            .from(attestations)
            .where(inArray(attestations.release, ids))
            .orderBy(attestations.release, attestations.predicateType, attestations.statement),
        );
  return { query, attestations: rows };
}

/** What descends from a dataset, a commit, a model, an image: everything that its releases made. */
export async function impact(database: Database, text: string): Promise<ImpactAnswer> {
  const query = normalizeQuery(text);
  const parts = candidatesOf(query).flatMap((candidate) => partsOf(candidate));
  const found = sql`(${sql.join(
    parts.map((part) => sql`(${part})`),
    sql` union `,
  )}) found`;
  const rows = await asJson<MadeRow>(
    database,
    sql`select found.kind, found.id as match, ${releases.id} as release, ${releases.model} as model,
        ${releases.modelId} as model_id, ${releases.modelDigest} as model_digest,
        ${releases.image} as image, ${releases.imageDigest} as image_digest
      from ${found} join ${releases} on ${releases.id} = found.release order by ${releases.requestedAt} desc`,
  );
  const ran = await asJson<RanRow>(
    database,
    sql`select release, environment, model, repository, manifest, commit, cause,
        image_digest as "imageDigest", served_from as "servedFrom", ${servedUntil} as until
      from ${deployments} where release in (select found.release from ${found})
      order by served_from desc nulls last, commit`,
  );
  const whole = [...new Map(rows.map((row) => [row.release, row])).values()];
  const windows = ran.map(({ until, ...row }) => ({
    ...windowOf({ row: { ...row, servedFrom: dateOf(row.servedFrom) }, to: dateOf(until) }),
    release: row.release ?? '',
    model: row.model,
    imageDigest: row.imageDigest,
  }));
  return {
    query,
    matches: [...new Map(rows.map(({ kind, match }) => [`${kind} ${match}`, { kind, id: match }])).values()],
    releases: whole.length,
    models: whole.flatMap(({ release, model, model_id, model_digest }) =>
      model_digest ? [{ release, model, modelId: model_id, modelDigest: model_digest }] : [],
    ),
    images: whole.flatMap(({ release, image, image_digest }) =>
      image && image_digest ? [{ release, image, imageDigest: image_digest }] : [],
    ),
    deployments: windows,
    serving: windows.filter(({ from, to }) => from !== null && to === null),
  };
}

interface MadeRow extends Record<string, unknown> {
  readonly kind: Kind;
  readonly match: string;
  readonly release: string;
  readonly model: string | null;
  readonly model_id: string | null;
  readonly model_digest: string | null;
  readonly image: string | null;
  readonly image_digest: string | null;
}

/** Many rows as one text: a driver takes longer to read thousands of rows than the database to find them. */
async function asJson<T>(database: Database, query: SQL): Promise<T[]> {
  const answer = await reach(() =>
    database.execute(
      sql`select coalesce(json_agg(found_row), '[]')::text as found from (${query}) found_row`,
    ),
  );
  const [row] = rowsOf<{ found: string }>(answer);
  return JSON.parse(row?.found ?? '[]') as T[];
}

const dateOf = (text: string | null): Date | null => (text === null ? null : new Date(text));

/** Drivers answer a raw query in one way: an object with the rows. */
function rowsOf<T>(result: unknown): T[] {
  return (result as { rows: T[] }).rows;
}

/** One of a release's further ids. */
const among = (id: string) => sql`${releases.ids} @> array[${id}]`;

const ofRelease = (kind: Kind, id: SQL, where: SQL) =>
  sql`select ${kind}::text as kind, ${id} as id, ${releases.id} as release from ${releases} where ${where}`;

/** Newest first, where there may be very many; their indices are in that order. */
const newest = sql` order by ${releases.requestedAt} desc`;

function partsOf(candidate: Candidate): SQL[] {
  const { kind } = candidate;
  if ('value' in candidate) {
    const { value } = candidate;
    const where = {
      release: eq(releases.id, value),
      trace: eq(releases.traceId, value),
      span: among(value),
      run: among(value),
      execution: eq(releases.execution, value),
    }[candidate.kind];
    return [ofRelease(kind, sql`${value}::text`, where)];
  }
  if ('prefix' in candidate) {
    // `g` comes after every hex digit.
    const begins = (column: SQL.Aliased | typeof releases.commit | typeof deployments.commit) =>
      sql`${column} >= ${candidate.prefix} and ${column} < ${`${candidate.prefix}g`}`;
    if (kind === 'commit') return [ofRelease(kind, sql`${releases.commit}`, begins(releases.commit))];
    return [
      sql`select ${kind}::text as kind, ${deployments.commit} as id, ${deployments.release} as release
        from ${deployments} where ${deployments.release} is not null and ${begins(deployments.commit)}`,
    ];
  }
  switch (candidate.kind) {
    case 'dataset':
      if ('digest' in candidate)
        return [
          ofRelease(kind, sql`${candidate.digest}::text`, eq(releases.datasetDigest, candidate.digest)),
        ];
      return [
        sql`${ofRelease(
          kind,
          sql`${`${candidate.name}@${candidate.version}`}::text`,
          sql`${releases.datasetName} = ${candidate.name} and ${releases.datasetVersion} = ${candidate.version}`,
        )}${newest}`,
      ];
    case 'model': {
      const { id, digest, name } = candidate;
      if (id !== undefined) return [ofRelease(kind, sql`${id}::text`, eq(releases.modelId, id))];
      if (digest !== undefined)
        return [ofRelease(kind, sql`${digest}::text`, eq(releases.modelDigest, digest))];
      return [sql`${ofRelease(kind, sql`${name}::text`, eq(releases.model, name ?? ''))}${newest}`];
    }
    case 'base-image':
      return [ofRelease(kind, sql`${candidate.digest}::text`, among(candidate.digest))];
    case 'trainer-image':
      return [ofRelease(kind, sql`${candidate.digest}::text`, eq(releases.trainerDigest, candidate.digest))];
    case 'image': {
      if ('digest' in candidate)
        return [ofRelease(kind, sql`${candidate.digest}::text`, eq(releases.imageDigest, candidate.digest))];
      const { repository, tag } = candidate;
      const whole = tag ? sql` and ${releases.image} = ${`${repository}:${tag}`}` : sql``;
      const text = `${repository}${tag ? `:${tag}` : ''}`;
      return [
        sql`${ofRelease(kind, sql`${text}::text`, sql`${releases.imageRepository} = ${repository}${whole}`)}${newest}`,
      ];
    }
    case 'job': {
      const { namespace, name } = candidate;
      const within = namespace ? sql` and ${releases.jobNamespace} = ${namespace}` : sql``;
      return [ofRelease(kind, sql`${releases.job}`, sql`${releases.job} = ${name}${within}`)];
    }
    case 'pod':
      return podParts(candidate);
  }
}

/** `NAME-TEMPLATE-xxxxx`: a pod of a ReplicaSet. Those that came after the roll-out have the name of one that is known. */
const REPLICA = /^(.+)-[a-z0-9]{5}$/;

function podParts({ name, namespace }: Extract<Candidate, { kind: 'job' | 'pod' }>): SQL[] {
  const ofPod = (where: SQL) =>
    sql`select 'pod'::text as kind, ${`${namespace ? `${namespace}/` : ''}${name}`}::text as id,
      ${pods.release} as release from ${pods}
      where ${where}${namespace ? sql` and ${pods.namespace} = ${namespace}` : sql``}`;
  const owner = REPLICA.exec(name)?.[1];
  return [
    ofPod(sql`${pods.name} = ${name}`),
    ...(owner
      ? [
          // `.` comes after `-`.
          ofPod(
            sql`${pods.name} >= ${`${owner}-`} and ${pods.name} < ${`${owner}.`} and ${pods.environment} <> ''`,
          ),
          ofRelease('pod', sql`${name}::text`, eq(releases.job, owner)),
        ]
      : []),
  ];
}

/** The chains of some releases, the newest first. */
async function chainsOf(database: Database, ids: readonly string[]): Promise<ReleaseAnswer[]> {
  if (ids.length === 0) return [];
  const some = [...ids];
  const [rows, podRows, windows] = await reach(() =>
    Promise.all([
      database.select().from(releases).where(inArray(releases.id, some)).orderBy(desc(releases.requestedAt)),
      database.select().from(pods).where(inArray(pods.release, some)).orderBy(pods.createdAt, pods.name),
      database
        .select({ row: deployments, to: servedUntil })
        .from(deployments)
        .where(inArray(deployments.release, some))
        .orderBy(deployments.servedFrom, deployments.commit),
    ]),
  );
  return rows.map((row) => {
    const own = windows.filter(({ row: { release } }) => release === row.id);
    return {
      release: row.id,
      status: row.status,
      model: row.model,
      repository: row.repository,
      ref: row.ref,
      planPath: row.planPath,
      commit: row.commit,
      dataset: row.datasetName && `${row.datasetName}@${row.datasetVersion}`,
      datasetDigest: row.datasetDigest,
      parameters: row.parameters,
      metrics: row.metrics,
      training: row.job
        ? {
            job: row.jobNamespace ? `${row.jobNamespace}/${row.job}` : row.job,
            image: row.trainerImage,
            startedAt: iso(row.trainingStartedAt),
            endedAt: iso(row.trainingEndedAt),
          }
        : null,
      pods: podRows.filter(({ release }) => release === row.id).map(podAnswer),
      modelId: row.modelId,
      modelDigest: row.modelDigest,
      modelUri: row.modelUri,
      image: row.image,
      imageDigest: row.imageDigest,
      baseImages: row.baseImages ?? [],
      gitopsCommits: [...new Set(own.map((one) => one.row.commit))],
      deployments: own.map(windowOf),
      traceId: row.traceId,
      traceparent: row.traceparent,
      execution: row.execution,
      requestedBy: row.requestedBy,
      triggeredBy: row.triggeredBy,
      approvals: row.approvals ?? [],
      rollback: row.rollback,
      problem: row.problem && { code: row.problem.code, message: row.problem.message },
      environments: row.environments ?? [],
      requestedAt: row.requestedAt.toISOString(),
      endedAt: iso(row.endedAt),
      stages: row.stages,
    };
  });
}

function podAnswer(row: typeof pods.$inferSelect): PodAnswer {
  return {
    namespace: row.namespace,
    name: row.name,
    environment: row.environment || null,
    startedAt: iso(row.startedAt),
    endedAt: iso(row.endedAt),
    ending: row.ending,
  };
}

function windowOf({ row, to }: { row: WindowRow; to: Date | null }): DeploymentWindow {
  return {
    environment: row.environment,
    repository: row.repository,
    manifest: row.manifest,
    commit: row.commit,
    from: iso(row.servedFrom),
    to: iso(to),
    ...(row.cause === 'rollback' ? { rollback: true as const } : {}),
  };
}

/** What an environment served at a time: for each of its targets the release that had been rolled out last. */
export async function servedAt(
  database: Database,
  environment: string,
  at: Date,
): Promise<readonly ReleaseAnswer[]> {
  const last = database
    .select({ release: deployments.release })
    .from(deployments)
    .where(
      and(
        eq(deployments.environment, targets.environment),
        eq(deployments.model, targets.model),
        eq(deployments.repository, targets.repository),
        eq(deployments.manifest, targets.manifest),
        sql`${deployments.servedFrom} <= ${at.toISOString()}::timestamptz`,
      ),
    )
    .orderBy(desc(deployments.servedFrom))
    .limit(1)
    .as('last');
  const rows = await reach(() =>
    database
      .select({ release: last.release })
      .from(targets)
      .innerJoinLateral(last, sql`true`)
      .where(eq(targets.environment, environment)),
  );
  return chainsOf(database, [...new Set(rows.flatMap(({ release }) => (release ? [release] : [])))]);
}

/** Environments that are known, for whoever asked for another. */
export async function environments(database: Database): Promise<string[]> {
  const rows = await reach(() =>
    database.selectDistinct({ environment: targets.environment }).from(targets).orderBy(targets.environment),
  );
  return rows.map(({ environment }) => environment);
}

const iso = (time: Date | null): string | null => time?.toISOString() ?? null;
