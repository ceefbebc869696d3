// `npm run bench -- overhead | waiting | trace | lineage | gateway | gitops [--rounds N] [--sizes N,N] [--keep]`: runs a benchmark, on the
// local cluster where it needs one. Prints its table on stdout.
import { spawnSync } from 'node:child_process';
import { benchmarkParts, onCluster } from './on-cluster.mjs';
import { build, git, main, nodePackages, postgres, root, SetupError, say, temporal } from './setup.mjs';

const BENCHMARKS = {
  gateway: 'triggers that the gateway accepts, next to bare client.workflow.start, in turns',
  gitops: 'releases that deploy to one repository, by its writer and by the loop of stages in bash',
  lineage: 'questions to the lineage store, over ten thousand to a million releases',
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
  const sizes = parameters.includes('--sizes') ? parameters[parameters.indexOf('--sizes') + 1] : undefined;
  if (['trace', 'lineage', 'gateway', 'gitops'].includes(name)) {
    say('▸ setting up');
    await git(true);
    await nodePackages();
    await build();
    if (name !== 'lineage') await temporal();
    const server = name === 'lineage' || name === 'gateway' ? await postgres() : {};
    say(`\n▸ ${BENCHMARKS[name]}`);
    const vitest = `${root}/node_modules/vitest/vitest.mjs`;
    const env = {
      ...process.env,
      ...server,
      ...(rounds && { BENCH_ROUNDS: rounds }),
      ...(sizes && { BENCH_LINEAGE: sizes, BENCH_GITOPS: sizes }),
    };
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
