// `npm run test:cluster`: the tests that need a cluster, on a new local one, and a short run of each benchmark there.
// Arguments go to vitest; `--keep` leaves the cluster up. Ends with one line that counts.
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { benchmarkParts, onCluster } from './on-cluster.mjs';
import { main, say } from './setup.mjs';

await main(async () => {
  const parameters = process.argv.slice(2);
  const scratch = mkdtempSync(join(tmpdir(), 'throughline-tests-'));
  const report = join(scratch, 'vitest.json');
  try {
    return await onCluster({ keep: parameters.includes('--keep') }, (vitest) => {
      say('\n▸ cluster tests');
      const given = parameters.filter((word) => word !== '--keep');
      const projects = given.length > 0 ? ['--project=cluster'] : ['--project=cluster', '--project=bench'];
      const status = vitest(
        [...projects, '--reporter=verbose', '--reporter=json', `--outputFile.json=${report}`, ...given],
        given.length > 0 ? {} : { ...benchmarkParts(), BENCH_ROUNDS: '1', BENCH_SIZES: '10' },
      );
      const counts = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {};
      const { numPassedTests = 0, numFailedTests = 0, numPendingTests = 0 } = counts;
      const failed = numFailedTests + numPendingTests; // a test that did not run has not passed
      const all = status === 0 ? failed : Math.max(1, failed); // and what broke without being counted has failed too
      process.stdout.write(`\n${numPassedTests} passed, ${all} failed\n`);
      return all > 0 ? 1 : 0;
    });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
