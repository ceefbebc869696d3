// `npm run chaos -- --releases N --kills K --seed S --faults worker,collector,temporal,job [--away SECONDS] [--json]`:
// kills workers at random moments, and counts what is lost, next to the same releases with the stock OpenTelemetry
// plugin. Prints a table on stderr and, with --json, one line on stdout.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { main, root, SetupError, say, setUp } from './setup.mjs';

const FAULTS = ['worker', 'collector', 'temporal', 'job'];

function options() {
  try {
    const { values } = parseArgs({
      options: {
        releases: { type: 'string', default: '100' },
        kills: { type: 'string', default: '100' },
        seed: { type: 'string', default: '1' },
        faults: { type: 'string', default: FAULTS.join(',') },
        away: { type: 'string', default: '60' },
        json: { type: 'boolean', default: false },
        'no-install': { type: 'boolean', default: false },
      },
    });
    for (const name of ['releases', 'kills', 'seed', 'away']) {
      if (!/^\d+$/.test(values[name])) throw new SetupError(`--${name} is a number: ${values[name]}`);
    }
    const unknown = values.faults.split(',').filter((fault) => fault && !FAULTS.includes(fault));
    if (unknown.length > 0) {
      throw new SetupError(`There is no fault ${unknown.join(', ')}; there are ${FAULTS.join(', ')}`);
    }
    return values;
  } catch (error) {
    throw error instanceof SetupError ? error : new SetupError(error.message);
  }
}

await main(async () => {
  const { releases, kills, seed, faults, away, json, ...rest } = options();
  say('▸ setting up');
  const env = await setUp({ install: !rest['no-install'] });
  const scratch = mkdtempSync(join(tmpdir(), 'throughline-chaos-'));
  const output = join(scratch, 'counts.json');
  try {
    say(`\n▸ ${releases} releases, ${kills} kills; then the same with the stock plugin`);
    const { status } = spawnSync(
      process.execPath,
      ['node_modules/vitest/vitest.mjs', 'run', '--project=chaos', 'test/chaos/chaos.test.ts'],
      {
        cwd: root,
        stdio: ['ignore', 2, 2], // stdout is for the counts alone
        env: {
          ...env,
          CHAOS_RELEASES: releases,
          CHAOS_KILLS: kills,
          CHAOS_SEED: seed,
          CHAOS_FAULTS: faults,
          CHAOS_AWAY: away,
          CHAOS_OUTPUT: output,
        },
      },
    );
    if (json) process.stdout.write(`${readFileSync(output, 'utf8')}\n`);
    return status ?? 1;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
