// Runs vitest in the network of the local cluster, which is brought up first and taken down afterwards.
import { execFileSync, spawnSync } from 'node:child_process';
import { build, git, goToolchain, nodePackages, root, say } from './setup.mjs';

const cluster = `${root}/dist/cluster/main.js`;

/** Runs a command of the cluster's, and gives what it prints. */
export const askCluster = (...parameters) =>
  execFileSync(process.execPath, [cluster, ...parameters], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 1 << 26,
  });

/** Brings everything up, calls `body` with a function that runs vitest, and takes the cluster down unless it is kept. */
export async function onCluster({ keep }, body) {
  say('▸ setting up');
  await git(true);
  await goToolchain();
  await nodePackages();
  await build();
  say('\n▸ the local cluster');
  try {
    const state = JSON.parse(askCluster('up', '--json'));
    const vitest = (parameters, env = {}) =>
      spawnSync(
        process.execPath,
        [cluster, 'exec', process.execPath, `${root}/node_modules/vitest/vitest.mjs`, 'run', ...parameters],
        {
          cwd: root,
          stdio: ['ignore', 'inherit', 'inherit'],
          env: { ...process.env, THROUGHLINE_CLUSTER_STATE: state.file, ...env },
        },
      ).status ?? 1;
    return await body(vitest);
  } finally {
    if (!keep) spawnSync(process.execPath, [cluster, 'down'], { stdio: 'inherit' });
  }
}
