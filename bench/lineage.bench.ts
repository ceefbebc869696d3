// How long questions about lineage take, and how that grows: releases of a realistic shape, made in the database itself,
// in PostgreSQL and in the embedded store. Beside it what it replaces: the same question to the trailers of a GitOps
// repository, by git, as far as one can have so many commits.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { afterAll, describe, expect, it } from 'vitest';
import type { Database } from '../src/lineage/database.js';
import { find, impact, servedAt } from '../src/lineage/find.js';
import { LineageStore } from '../src/lineage/index.js';
import { Postgres } from '../test/support/postgres.js';
import { random } from '../test/support/random.js';

const SIZES = (process.env.BENCH_LINEAGE ?? '10000,100000,1000000').split(',').map(Number);
const LOOKUPS = Number(process.env.BENCH_LOOKUPS ?? 200);
/** Commits of the repository that git is asked about: at most this many can be made in a minute. */
const MOST_COMMITS = 20_000;

type Row = Record<string, string>;

async function rows(database: Database, query: ReturnType<typeof sql>): Promise<Row[]> {
  return ((await database.execute(query)) as unknown as { rows: Row[] }).rows;
}

/**
 * `count` releases over some years: 200 models, some far busier than others, 25 datasets each; one release in a hundred
 * uses a dataset that all share. One in ten releases an older commit again, one in seven comes to nothing, every second is
 * staged first, and one in fifty is brought back by hand.
 */
async function fill(database: Database, count: number): Promise<void> {
  const indexes = await rows(
    database,
    sql`select indexname as name, indexdef as definition from pg_indexes
      where schemaname = 'public' and indexname not like '%_pk' and indexname not like '%_pkey'`,
  );
  for (const { name } of indexes) await database.execute(sql.raw(`drop index "${name}"`));
  await database.execute(sql.raw('alter table pods drop constraint pods_release_releases_id_fk'));
  await database.execute(
    sql.raw('alter table deployments drop constraint deployments_release_releases_id_fk'),
  );
  const hex = (seed: string, length: number) =>
    `substr(md5('${seed}' || i) || md5(i || '${seed}'), 1, ${length})`;
  const digest = (seed: string) => `'sha256:' || md5('${seed}' || i) || md5(i || '${seed}')`;
  const model = `('model-' || floor(200 * power((i::bigint * 7919 % 10007) / 10007.0, 2)))`;
  const id = `('rel-' || translate(${hex('release', 20)}, '0189', 'wxyz'))`;
  const requested = `(timestamptz '2020-01-01' + i * interval '150 seconds')`;
  await database.execute(
    sql.raw(`insert into releases (id, status, model, repository, ref, plan_path, commit, dataset_name,
      dataset_version, dataset_digest, parameters, metrics, job_namespace, job, trainer_image, trainer_digest,
      training_started_at, training_ended_at, model_id, model_digest, model_uri, image, image_repository, image_digest,
      trace_id, traceparent, ids, execution, requested_by, requested_at, started_at, ended_at, stages, run_started_at, events)
    select ${id}, case when i % 7 = 3 then 'REJECTED' else 'SUCCEEDED' end, ${model},
      'https://git.example/ml/' || ${model} || '.git', 'main', 'throughline.yaml',
      (select ${hex('commit', 40).replaceAll('i)', 'c)').replaceAll('(i ', '(c ')} from (select case when i % 10 = 1 then i / 2 else i end as c) as again),
      case when i % 100 = 0 then 'shared' else ${model} end, case when i % 100 = 0 then 'v1' else 'v' || (i / 40000 % 25) end,
      ${digest('dataset')}, '{"EPOCHS": "15", "LEARNING_RATE": "0.01"}', '{"accuracy": 0.97, "loss": 0.09}', 'training',
      ${model} || '-' || ${hex('job', 26)}, 'registry.example/ml/trainer@' || ${digest('trainer')}, ${digest('trainer')},
      ${requested} + interval '5 seconds', ${requested} + interval '3 hours', ${model} || '-' || ${hex('model', 12)}, ${digest('model')},
      'oci://registry.example/ml/' || ${model} || '-model',
      case when i % 7 <> 3 then 'registry.example/ml/' || ${model} || ':' || ${id} end,
      case when i % 7 <> 3 then 'registry.example/ml/' || ${model} end, case when i % 7 <> 3 then ${digest('image')} end,
      md5('trace' || i), '00-' || md5('trace' || i) || '-' || ${hex('span', 16)} || '-01',
      array[${hex('span', 16)}, ${Array.from({ length: 11 }, (_, k) => hex(`s${k}`, 16)).join(', ')}, md5('run' || i)::uuid::text,
        'sha256:' || md5('base' || i % 200) || md5(i % 200 || 'base')],
      '01' || upper(${hex('execution', 24)}), 'somebody', ${requested}, ${requested}, ${requested} + interval '4 hours',
      '[{"name": "train", "status": "SUCCEEDED", "startedAt": "2020-01-01T00:00:00.000Z", "endedAt": "2020-01-01T03:00:00.000Z"}, {"name": "build", "status": "SUCCEEDED", "startedAt": "2020-01-01T03:00:00.000Z", "endedAt": "2020-01-01T03:10:00.000Z"}]',
      ${requested}, 60
    from generate_series(1, ${count}) as i`),
  );
  await database.execute(
    sql.raw(`insert into pods (release, namespace, name, environment, uid, node, created_at, started_at, ended_at, exit_code, ending)
    select ${id}, 'training', ${model} || '-' || ${hex('job', 26)} || '-' || ${hex('pod', 5)}, '', md5('uid' || i)::uuid::text, 'node-' || i % 50,
      ${requested}, ${requested}, ${requested} + interval '3 hours', 0, 'succeeded' from generate_series(1, ${count}) as i
    union all select ${id}, 'serving', ${model} || '-' || ${hex('set', 9)} || '-' || substr(md5(i || 'p' || k), 1, 4) || k, 'production', null, null, null, null, null, null, null
      from generate_series(1, ${count}) as i, generate_series(1, 2) as k where i % 7 <> 3`),
  );
  const deployment = (environment: string, cause: string, where: string) => `
    select ${id}, '${environment}', ${model}, 'https://git.example/ml/gitops.git', 'main',
      '${environment}/' || ${model} || '.yaml', ${hex(`gitops-${environment}-${cause}`, 40)}, '${cause}', ${digest('image')}, ${model},
      ${hex(`gitops-${environment}-${cause}`, 40)}, 'Deployment', 'serving', ${model}, ${requested} + interval '4 hours',
      ${requested} + interval '${cause === 'release' ? 4 : 30} hours' from generate_series(1, ${count}) as i where i % 7 <> 3 and ${where}`;
  await database.execute(
    sql.raw(`insert into deployments (release, environment, model, repository, branch, manifest, commit, cause, image_digest, application,
      revision, workload_kind, workload_namespace, workload, committed_at, served_from)
      ${deployment('production', 'release', 'true')} union all ${deployment('staging', 'release', 'i % 2 = 0')}
      union all ${deployment('production', 'rollback', 'i % 50 = 5')}`),
  );
  await database.execute(
    sql`insert into targets select distinct environment, model, repository, manifest, branch from deployments`,
  );
  for (const { definition } of indexes) await database.execute(sql.raw(definition ?? ''));
  await database.execute(
    sql.raw(
      'alter table pods add constraint pods_release_releases_id_fk foreign key (release) references releases (id) on delete cascade',
    ),
  );
  await database.execute(
    sql.raw(
      'alter table deployments add constraint deployments_release_releases_id_fk foreign key (release) references releases (id) on delete cascade',
    ),
  );
  await database.execute(sql`analyze`);
}

/** Ids of releases all over the years, by kind. */
async function samples(database: Database, count: number): Promise<Map<string, string[]>> {
  const next = random(3);
  const kinds = new Map<string, string[]>();
  const add = (kind: string, value: string | undefined | null) => {
    if (value) kinds.set(kind, [...(kinds.get(kind) ?? []), value]);
  };
  for (let taken = 0; taken < LOOKUPS; taken += 1) {
    const at = new Date(
      Date.parse('2020-01-01T00:00:00Z') + Math.floor(next() * count) * 150_000,
    ).toISOString();
    const [row] = await rows(
      database,
      sql`select r.*, r.ids[3] as span, r.ids[13] as run, p.name as pod, d.commit as gitops, r.job_namespace || '/' || r.job as named_job
        from releases r left join pods p on p.release = r.id and p.environment = '' left join deployments d on d.release = r.id and d.environment = 'production'
        where r.model = ${`model-${Math.floor(200 * next() ** 2)}`} and r.requested_at >= ${at}::timestamptz order by r.requested_at limit 1`,
    );
    if (!row) continue;
    add('release', row.id);
    add('trace', row.trace_id);
    add('traceparent', row.traceparent);
    add('span', row.span);
    add('run', row.run);
    add('execution', row.execution);
    add('commit', row.commit);
    add('commit, abbreviated', row.commit?.slice(0, 10));
    add('GitOps commit', row.gitops);
    add('dataset', `${row.dataset_name}@${row.dataset_version}`);
    add('model id', row.model_id);
    add('model digest', row.model_digest);
    add('model name', row.model);
    add('image', row.image && `${row.image}@${row.image_digest}`);
    add('image digest', row.image_digest);
    add('trainer digest', row.trainer_digest);
    add('Job', row.named_job);
    add('pod', row.pod);
  }
  return kinds;
}

interface Times {
  readonly p50: number;
  readonly p95: number;
}

async function time(all: readonly (() => Promise<unknown>)[]): Promise<Times> {
  const taken: number[] = [];
  for (const one of all) {
    const begun = performance.now();
    await one();
    taken.push(performance.now() - begun);
  }
  taken.sort((a, b) => a - b);
  const at = (share: number) =>
    taken[Math.min(taken.length - 1, Math.floor(taken.length * share))] ?? Number.NaN;
  return { p50: at(0.5), p95: at(0.95) };
}

/** Milliseconds by question. */
async function measure(database: Database, count: number): Promise<Map<string, Times>> {
  const kinds = await samples(database, count);
  const table = new Map<string, Times>();
  for (const [kind, ids] of kinds) {
    for (const id of ids.slice(0, 5)) await find(database, id); // plans are made, pages are read
    const answers = ids.map((id) => async () => {
      const { releases } = await find(database, id);
      expect(releases.length, `${kind} ${id}`).toBeGreaterThan(0);
    });
    table.set(kind, await time(answers));
  }
  const middle = new Date(Date.parse('2020-01-01T00:00:00Z') + count * 75_000);
  table.set(
    'served at a time',
    await time(Array.from({ length: 20 }, () => () => servedAt(database, 'production', middle))),
  );
  const shared = await impact(database, 'dataset:shared@v1');
  expect(shared.releases).toBe(Math.floor(count / 100));
  table.set(
    `impact on ${shared.releases} releases`,
    await time(Array.from({ length: 3 }, () => () => impact(database, 'dataset:shared@v1'))),
  );
  return table;
}

/** The same by git: which commit of the GitOps repository names this trace? Milliseconds. */
async function byGit(count: number): Promise<Times> {
  const directory = mkdtempSync(join(tmpdir(), 'throughline-bench-'));
  try {
    const commits = Array.from({ length: count }, (_, index) => {
      const message = `Deploy model m-${index}\n\nRelease-Id: rel-${index}\nTraceparent: 00-${index.toString(16).padStart(32, '0')}-01\n`;
      return `commit refs/heads/main\nmark :${index + 1}\ncommitter T <t@localhost> ${1_577_836_800 + index * 150} +0000\ndata ${message.length}\n${message}${index > 0 ? `from :${index}\n` : ''}M 644 inline f\ndata ${`${index}`.length}\n${index}\n`;
    });
    execFileSync('git', ['init', '--quiet', '--bare', directory]);
    execFileSync('git', ['-C', directory, 'fast-import', '--quiet'], {
      input: `${commits.join('\n')}\n`,
      maxBuffer: 1 << 30,
    });
    const next = random(5);
    return await time(
      Array.from({ length: 10 }, () => async () => {
        const trace = Math.floor(next() * count)
          .toString(16)
          .padStart(32, '0');
        const found = execFileSync('git', [
          '-C',
          directory,
          'log',
          'main',
          '--fixed-strings',
          `--grep=${trace}`,
          '--format=%H',
        ]);
        expect(found.length).toBeGreaterThan(40);
      }),
    );
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const say = (text: string) => process.stdout.write(`${text}\n`);
const cells = (...all: (string | number)[]) =>
  all
    .map((one, index) =>
      index === 0 ? String(one).padEnd(30) : (typeof one === 'number' ? one.toFixed(2) : one).padStart(12),
    )
    .join('');

let postgres: Postgres | undefined;
const directory = mkdtempSync(join(tmpdir(), 'throughline-bench-'));
afterAll(async () => {
  await postgres?.stop();
  rmSync(directory, { recursive: true, force: true });
});

describe.each(['PostgreSQL', 'embedded'])('%s', (engine) => {
  const traces = new Map<number, number>();
  it.each(SIZES)('%i releases', { timeout: 7_200_000 }, async (count) => {
    postgres ??= await Postgres.start();
    const location =
      engine === 'PostgreSQL'
        ? { url: await postgres.database(`of-${count}`) }
        : { directory: join(directory, String(count)) };
    const store = await LineageStore.open(location);
    const begun = performance.now();
    await fill(store.database, count);
    const seconds = (performance.now() - begun) / 1000;
    const [size] = await rows(
      store.database,
      sql`select pg_size_pretty(sum(pg_total_relation_size(c.oid))) as size from pg_class c where c.relname in ('releases', 'pods', 'deployments', 'targets')`,
    );
    const table = await measure(store.database, count);
    say(
      `\nlineage, ${engine}: ${count} releases, ${size?.size} on disk (made in ${seconds.toFixed(0)} s); milliseconds`,
    );
    say(cells('', 'p50', 'p95'));
    for (const [what, { p50, p95 }] of table) say(cells(what, p50, p95));
    traces.set(count, table.get('trace')?.p50 ?? Number.NaN);
    await store.close();
    if (engine === 'PostgreSQL') {
      const commits = Math.min(count, MOST_COMMITS);
      const git = await byGit(commits);
      say(cells(`git log --grep, ${commits} commits`, git.p50, git.p95));
      say(cells('  of a look-up by trace', `${(git.p50 / (traces.get(count) ?? 1)).toFixed(0)} times`));
    }
    const [first] = traces;
    if (first && first[0] !== count)
      say(
        cells(
          'growth since the first size',
          `${(count / first[0]).toFixed(0)} × data`,
          `${((traces.get(count) ?? 0) / first[1]).toFixed(2)} × p50`,
        ),
      );
  });
});
