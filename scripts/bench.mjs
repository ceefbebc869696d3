// `npm run bench -- overhead | waiting [--rounds N] [--keep]`: runs a benchmark on the local cluster. Prints its table on stdout.
import { benchmarkParts, onCluster } from './on-cluster.mjs';
import { main, SetupError, say } from './setup.mjs';

const BENCHMARKS = {
  overhead: 'a release by Throughline and by the bash stages that it replaces, in turns',
  waiting: 'hundreds of releases that wait for Jobs, on faked nodes',
};

await main(async () => {
  const [name, ...parameters] = process.argv.slice(2);
  if (!name || !(name in BENCHMARKS)) {
    const list = Object.entries(BENCHMARKS).map(([one, what]) => `  ${one.padEnd(10)} ${what}`);
    throw new SetupError(`Which benchmark?\n${list.join('\n')}`);
  }
  const rounds = parameters.includes('--rounds') ? parameters[parameters.indexOf('--rounds') + 1] : '5';
  return onCluster({ keep: parameters.includes('--keep') }, (vitest) => {
    const env = { ...benchmarkParts(), BENCH_ROUNDS: rounds };
    say(`\n▸ ${BENCHMARKS[name]}`);
    return vitest([`bench/${name}.bench.ts`, '--project=bench', '--disable-console-intercept'], env);
  });
});
