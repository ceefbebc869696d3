// `npm run bench -- overhead | waiting | trace [--rounds N] [--keep]`: runs a benchmark, on the local cluster where it
// needs one. Prints its table on stdout.
import { spawnSync } from 'node:child_process';
import { benchmarkParts, onCluster } from './on-cluster.mjs';
import { build, git, main, nodePackages, root, SetupError, say, temporal } from './setup.mjs';

const BENCHMARKS = {
  overhead: 'a release by Throughline and by the bash stages that it replaces, in turns',
  trace: 'releases whose stages take no time, with and without their trace, in turns',
  waiting: 'hundreds of releases that wait for Jobs, on faked nodes',
};

await main(async () => {
  const [name, ...parameters] = process.argv.slice(2);
  if (!name || !(name in BENCHMARKS)) {
    const list = Object.entries(BENCHMARKS).map(([one, what]) => `  ${one.padEnd(10)} ${what}`);
    throw new SetupError(`Which benchmark?\n${list.join('\n')}`);
  }
  const rounds = parameters.includes('--rounds') ? parameters[parameters.indexOf('--rounds') + 1] : undefined;
  const files = [`bench/${name}.bench.ts`, '--project=bench', '--disable-console-intercept'];
  if (name === 'trace') {
    say('▸ setting up');
    await git(true);
    await nodePackages();
    await build();
    await temporal();
    say(`\n▸ ${BENCHMARKS[name]}`);
    const vitest = `${root}/node_modules/vitest/vitest.mjs`;
    const env = { ...process.env, ...(rounds && { BENCH_ROUNDS: rounds }) };
    return (
      spawnSync(process.execPath, [vitest, 'run', ...files], { cwd: root, stdio: 'inherit', env }).status ?? 1
    );
  }
  return onCluster({ keep: parameters.includes('--keep') }, (vitest) => {
    const env = { ...benchmarkParts(), ...(rounds && { BENCH_ROUNDS: rounds }) };
    say(`\n▸ ${BENCHMARKS[name]}`);
    return vitest(files, env);
  });
});
