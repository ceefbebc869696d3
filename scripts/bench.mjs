// `npm run bench -- overhead [--rounds N]`: brings the local cluster up, runs a benchmark in its network, takes it down.
// `--keep` leaves the cluster up. Prints its table on stdout.
import { execFileSync, spawnSync } from 'node:child_process';
import { build, git, goToolchain, main, nodePackages, root, SetupError, say } from './setup.mjs';

const BENCHMARKS = {
  overhead: 'a release by Throughline and by the bash stages that it replaces, in turns',
};

await main(async () => {
  const [name, ...parameters] = process.argv.slice(2);
  if (!name || !(name in BENCHMARKS)) {
    const list = Object.entries(BENCHMARKS).map(([one, what]) => `  ${one.padEnd(10)} ${what}`);
    throw new SetupError(`Which benchmark?\n${list.join('\n')}`);
  }
  const rounds = parameters.includes('--rounds') ? parameters[parameters.indexOf('--rounds') + 1] : '5';
  say('▸ setting up');
  await git(true);
  await goToolchain();
  await nodePackages();
  await build();
  const cluster = `${root}/dist/cluster/main.js`;
  const options = { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 };
  say('\n▸ the local cluster');
  try {
    const state = JSON.parse(execFileSync(process.execPath, [cluster, 'up', '--json'], options));
    const yq = execFileSync(process.execPath, [cluster, 'part', 'yq'], options).trim();
    say(`\n▸ ${BENCHMARKS[name]}`);
    const { status } = spawnSync(
      process.execPath,
      [
        cluster,
        'exec',
        process.execPath,
        `${root}/node_modules/vitest/vitest.mjs`,
        'run',
        '--project=bench',
        '--reporter=default',
        '--disable-console-intercept',
        `bench/${name}.bench.ts`,
      ],
      {
        cwd: root,
        stdio: ['ignore', 'inherit', 'inherit'],
        env: {
          ...process.env,
          THROUGHLINE_CLUSTER_STATE: state.file,
          YQ_DIRECTORY: yq,
          BENCH_ROUNDS: rounds,
        },
      },
    );
    return status ?? 1;
  } finally {
    if (!parameters.includes('--keep')) spawnSync(process.execPath, [cluster, 'down'], { stdio: 'inherit' });
  }
});
