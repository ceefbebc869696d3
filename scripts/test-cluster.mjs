// `npm run test:cluster`: brings the local cluster up, runs the tests that need one in its network, takes it down.
// Arguments go to vitest; `--keep` leaves the cluster up. Ends with one line that counts.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, git, goToolchain, main, nodePackages, root, say } from './setup.mjs';

await main(async () => {
  const parameters = process.argv.slice(2);
  const keep = parameters.includes('--keep');
  say('▸ setting up');
  await git(true);
  await goToolchain();
  await nodePackages();
  await build();
  const cluster = `${root}/dist/cluster/main.js`;
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 };
  const scratch = mkdtempSync(join(tmpdir(), 'throughline-tests-'));
  const report = join(scratch, 'vitest.json');
  say('\n▸ the local cluster');
  try {
    const state = JSON.parse(execFileSync(process.execPath, [cluster, 'up', '--json'], options));
    say('\n▸ cluster tests');
    const { status } = spawnSync(
      process.execPath,
      [
        cluster,
        'exec',
        process.execPath,
        `${root}/node_modules/vitest/vitest.mjs`,
        'run',
        '--project=cluster',
        '--reporter=default',
        '--reporter=json',
        `--outputFile.json=${report}`,
        ...parameters.filter((word) => word !== '--keep'),
      ],
      {
        cwd: root,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: { ...process.env, THROUGHLINE_CLUSTER_STATE: state.file },
      },
    );
    const {
      numPassedTests = 0,
      numFailedTests = 0,
      numPendingTests = 0,
    } = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {};
    const failed = numFailedTests + numPendingTests; // a test that did not run has not passed
    const broken = status === 0 ? 0 : Math.max(1, failed);
    process.stdout.write(`\n${numPassedTests} passed, ${Math.max(failed, broken)} failed\n`);
    return broken > 0 || failed > 0 ? 1 : 0;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
    if (!keep) spawnSync(process.execPath, [cluster, 'down'], { stdio: 'inherit' });
  }
});
