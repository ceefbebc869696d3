// Writes releases into a lineage store for as long as it lives, and says which have been acknowledged. First it looks
// whether what is there is whole. Its parent kills it.
//   node lineage-writer.mjs DIRECTORY|postgres://… HISTORY
import { readFileSync } from 'node:fs';
import { historyFromJSON } from '@temporalio/common/lib/proto-utils.js';
import { sql } from 'drizzle-orm';
import { openLineageOf } from '../../dist/lineage/openlineage.js';
import { lineageOf } from '../../dist/lineage/record.js';
import { LineageStore } from '../../dist/lineage/store.js';
import { readRun } from '../../dist/telemetry/history.js';

const [location, history] = process.argv.slice(2);
const { events } = historyFromJSON(JSON.parse(readFileSync(history, 'utf8')));
const base = lineageOf([readRun('3f1e5b0c-7c3e-4a55-9d56-0d7c6c0f1f11', events)]);
const say = (line) => process.stdout.write(`${line}\n`);

const store = await LineageStore.open(
  location.startsWith('postgres') ? { url: location } : { directory: location },
);
const count = async (query) => Number((await store.database.execute(query)).rows[0].count);
const ids = (await store.database.execute(sql`select id from releases order by id`)).rows.map(({ id }) => id);
const broken = {
  'releases without their pods': await count(
    sql`select count(*) from releases r where (select count(*) from pods p where p.release = r.id) <> ${base.pods.length}`,
  ),
  'releases without their deployments': await count(
    sql`select count(*) from releases r where (select count(*) from deployments d where d.release = r.id) <> ${base.deployments.length}`,
  ),
  'releases without their attestations': await count(
    sql`select count(*) from releases r where (select count(*) from attestations a where a.release = r.id) <> 2`,
  ),
  'releases without their events': await count(
    sql`select count(*) from releases r
      left join (select split_part(id, '/', 1) as release, count(*) as events from outbox group by 1) o on o.release = r.id
      where coalesce(o.events, 0) <> ${openLineageOf(base, 'test').length}`,
  ),
  'pods of no release': await count(
    sql`select count(*) from pods p where not exists (select from releases r where r.id = p.release)`,
  ),
  'deployments of no release': await count(
    sql`select count(*) from deployments d where not exists (select from releases r where r.id = d.release)`,
  ),
  'deployments to no target': await count(
    sql`select count(*) from deployments d where not exists (select from targets t where t.environment = d.environment and t.model = d.model)`,
  ),
  'releases that were written twice': ids.length - new Set(ids).size,
};
say(JSON.stringify({ ids, broken }));

for (let number = Date.now() * 1000; ; number += 5) {
  // A few at once, the last of them twice: as where two attempts overlap.
  const batch = [0, 1, 2, 3, 3].map((offset) => numbered(number + offset));
  for (const some of [batch.slice(0, 4), batch.slice(4)]) {
    const events = some.flatMap((record) => openLineageOf(record, 'test'));
    await store.put(some, undefined, events);
  }
  say(batch.map(({ release }) => release.id).join(' '));
}

function numbered(number) {
  const id = `rel-${number.toString().padStart(20, 'x')}`;
  const commit = number.toString(16).padStart(40, '0');
  return {
    release: { ...base.release, id },
    pods: base.pods.map((pod) => ({ ...pod, release: id })),
    deployments: base.deployments.map((deployment) => ({ ...deployment, release: id, commit })),
    attestations: ['gate', 'provenance'].map((predicateType) => ({
      release: id,
      statement: `${predicateType} of ${id}`,
      predicateType,
      beside: base.release.image,
      bundle: { of: id },
    })),
  };
}
