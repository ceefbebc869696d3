// `npm run test:cluster`: the tests that need a cluster, on a new local one, and a short run of each benchmark there; and
// whether anything is left when it is down. Arguments go to vitest; `--keep` leaves the cluster up. Ends with one line
// that counts.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { benchmarkParts, onCluster, testParts } from './on-cluster.mjs';
import { read } from './report.mjs';
import { cCompiler, imageBuilder, main, postgres, say, sshd } from './setup.mjs';
import { inventory, leftSince } from './traces-left.mjs';

await main(async () => {
  const parameters = process.argv.slice(2);
  const keep = parameters.includes('--keep');
  const scratch = mkdtempSync(join(tmpdir(), 'throughline-tests-'));
  const report = join(scratch, 'vitest.json');
  const total = { passed: 0, failed: 0 };
  let before;
  try {
    await onCluster({ keep, beforeUp: () => (before = inventory()) }, async (vitest) => {
      const server = await postgres();
      const ssh = await sshd();
      await cCompiler(true);
      say('\n▸ cluster tests');
      // Releases by pull requests need no cluster: they run on this machine.
      const { THROUGHLINE_BUILDER } = await imageBuilder(true);
      const given = parameters.filter((word) => word !== '--keep');
      const projects = given.length > 0 ? ['--project=cluster'] : ['--project=cluster', '--project=bench'];
      const status = vitest(
        [...projects, '--reporter=verbose', '--reporter=json', `--outputFile.json=${report}`, ...given],
        {
          ...testParts(),
          ...ssh,
          THROUGHLINE_BUILDER,
          ...(given.length > 0
            ? {}
            : {
                ...benchmarkParts(),
                ...server,
                BENCH_ROUNDS: '1',
                BENCH_SIZES: '10',
                BENCH_RELEASES: '10',
                BENCH_TRIGGERS: '100',
                BENCH_LINEAGE: '2000',
                BENCH_LOOKUPS: '30',
                BENCH_GITOPS: '1,10',
                BENCH_FILES: '500',
                BENCH_NAIVE: '10',
              }),
        },
      );
      const { passed, failed, failures } = read(report);
      total.passed += passed;
      total.failed += status === 0 ? failed : Math.max(1, failed); // what broke without being counted has failed too
      for (const failure of failures) process.stdout.write(`\n${failure}\n`);
    });
    if (!keep) total[(await nothingLeft(before)) ? 'passed' : 'failed'] += 1;
    process.stdout.write(`\n${total.passed} passed, ${total.failed} failed\n`);
    return total.failed > 0 ? 1 : 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});

/** Compares what the machine has with what it had. The kernel takes a moment to let go of the last. */
async function nothingLeft(before) {
  say('\n▸ what the cluster has left behind');
  let left;
  for (let look = 0; look < 20; look += 1) {
    left = leftSince(before);
    // Whatever else this machine starts meanwhile is not the cluster's.
    left.processes = left.processes.filter((line) => line.includes('throughline'));
    if (Object.values(left).every((kind) => kind.length === 0)) break;
    await sleep(500);
  }
  for (const [kind, found] of Object.entries(left)) {
    say(`  ${kind.padEnd(18)} ${String(before[kind].length).padStart(4)} before, ${found.length} more after`);
    for (const one of found.slice(0, 10)) say(`    ${one.slice(0, 160)}`);
  }
  return Object.values(left).every((kind) => kind.length === 0);
}
