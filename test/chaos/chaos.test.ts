// A short run of `npm run chaos`; a long one where it is asked for by environment variables.
import { writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { type Count, chaos, FAULTS, type Fault, type Schedule, table } from './chaos.js';

const { CHAOS_RELEASES, CHAOS_KILLS, CHAOS_SEED, CHAOS_FAULTS, CHAOS_AWAY, CHAOS_OUTPUT } = process.env;
const schedule: Schedule = {
  releases: Number(CHAOS_RELEASES ?? 3),
  kills: Number(CHAOS_KILLS ?? 4),
  seed: Number(CHAOS_SEED ?? 1),
  faults: (CHAOS_FAULTS?.split(',') as Fault[] | undefined) ?? FAULTS,
  away: Number(CHAOS_AWAY ?? 3),
};
const say = (text: string) => process.stderr.write(`${text}\n`);

it('loses no span, whatever is killed', { timeout: 7_200_000 }, async () => {
  const counts: Record<string, Count> = { throughline: await chaos('throughline', schedule, say) };
  // The stock plugin's figures are for whoever compares; no test hangs on them.
  if (CHAOS_OUTPUT) counts.stock = await chaos('stock', schedule, say);
  say(`\n${table(schedule, counts)}`);
  if (CHAOS_OUTPUT) {
    const { releases, kills, seed } = schedule;
    writeFileSync(CHAOS_OUTPUT, JSON.stringify({ releases, kills, seed, ...counts }));
  }
  expect(counts.throughline).toMatchObject({
    succeeded: schedule.releases,
    lost: 0,
    orphaned: 0,
    duplicated: 0,
    tracesPerRelease: 1,
    jobsPerRelease: 1,
    imagesPerRelease: 1,
    commitsPerRelease: 1,
    danglingTraceparents: 0,
  });
});
