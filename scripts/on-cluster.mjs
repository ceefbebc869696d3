// Runs vitest in the network of the local cluster, which is brought up first and taken down afterwards.
import { execFileSync, spawnSync } from 'node:child_process';
import { build, git, goToolchain, nodePackages, root, say, temporal } from './setup.mjs';

const cluster = `${root}/dist/cluster/main.js`;

/** A cluster of its own, so that nobody's work is in the way: not that of a person, nor that of an earlier run. */
const own = [cluster, '--name', 'tests'];

/** Runs a command of the cluster's, and gives what it prints. */
export const askCluster = (...parameters) =>
  execFileSync(process.execPath, [...own, ...parameters], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });

/** What the tests of provenance and of pull requests need besides. */
export const testParts = () => ({
  COSIGN_DIRECTORY: askCluster('part', 'cosign').trim(),
  GITEA_DIRECTORY: askCluster('part', 'gitea').trim(),
});

/** What benchmarks need besides, as variables. */
export const benchmarkParts = () => ({
  YQ_DIRECTORY: askCluster('part', 'yq').trim(),
  KWOK_DIRECTORY: askCluster('part', 'kwok').trim(),
});

/**
 * Brings a new cluster up, calls `body` with a function that runs vitest, and removes the cluster. With `keep` it takes
 * the one that an earlier run left, and leaves it for the next. Calls `beforeUp` when the machine is as it was.
 */
export async function onCluster({ keep, beforeUp }, body) {
  say('▸ setting up');
  await git(true);
  await goToolchain();
  await nodePackages();
  await build();
  await temporal();
  say('\n▸ the local cluster');
  try {
    if (!keep) spawnSync(process.execPath, [...own, 'reset'], { stdio: 'ignore' });
    beforeUp?.();
    const state = JSON.parse(askCluster('up', '--json'));
    const vitest = (parameters, env = {}) =>
      spawnSync(
        process.execPath,
        [...own, 'exec', process.execPath, `${root}/node_modules/vitest/vitest.mjs`, 'run', ...parameters],
        {
          cwd: root,
          stdio: ['ignore', 'inherit', 'inherit'],
          env: { ...process.env, THROUGHLINE_CLUSTER_STATE: state.file, ...env },
        },
      ).status ?? 1;
    return await body(vitest);
  } finally {
    if (!keep) spawnSync(process.execPath, [...own, 'reset'], { stdio: 'inherit' });
  }
}
