// `npm run chaos -- --releases N --kills K --seed S --faults worker,collector,temporal,job [--away SECONDS] [--json]`:
// kills workers at random moments, and counts what is lost, next to the same releases with the stock OpenTelemetry
// plugin. Prints a table on stderr and, with --json, one line on stdout.
// `npm run chaos -- gitops|lineage --kills K [--seed S]`: kills who writes, and compares what is there with what was asked for.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { build, git, main, nodePackages, postgres, root, SetupError, say, setUp } from './setup.mjs';

/** Who is killed while writing; by the environment that its test reads. */
const WRITERS = {
  gitops: {
    what: 'the writer of a GitOps branch, beside others who edit the same files',
    test: 'test/chaos/gitops-kills.test.ts',
    kills: 'GITOPS_KILLS',
    seed: 'GITOPS_SEED',
  },
  lineage: {
    what: 'the writer of the lineage store, embedded and PostgreSQL',
    test: 'test/chaos/lineage-kills.test.ts',
    kills: 'LINEAGE_KILLS',
    seed: 'LINEAGE_SEED',
  },
};
const FAULTS = ['worker', 'collector', 'temporal', 'job'];

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
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
    const [writer, ...more] = positionals;
    if (more.length > 0 || (writer !== undefined && !(writer in WRITERS))) {
      throw new SetupError(
        `There is no ${positionals.join(' ')}; there are ${Object.keys(WRITERS).join(' and ')}`,
      );
    }
    return { ...values, writer: WRITERS[writer] };
  } catch (error) {
    throw error instanceof SetupError ? error : new SetupError(error.message);
  }
}

await main(async () => {
  const { releases, kills, seed, faults, away, json, writer, ...rest } = options();
  say('▸ setting up');
  if (writer) {
    await git(!rest['no-install']);
    await nodePackages();
    await build();
    const server = writer === WRITERS.lineage ? await postgres() : {};
    say(`\n▸ ${kills} kills of ${writer.what}`);
    const { status } = spawnSync(
      process.execPath,
      [
        'node_modules/vitest/vitest.mjs',
        'run',
        writer.test, // before a flag that would take it for its value
        '--project=chaos',
        '--disable-console-intercept',
      ],
      {
        cwd: root,
        stdio: 'inherit',
        env: { ...process.env, ...server, [writer.kills]: kills, [writer.seed]: seed },
      },
    );
    return status ?? 1;
  }
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
