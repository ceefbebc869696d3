// `npm run demo`: sets everything up, then runs src/demo; with `--cluster` in the network of the local cluster.
import { execFileSync } from 'node:child_process';
import { createServer } from 'node:net';
import {
  build,
  git,
  goToolchain,
  hand,
  main,
  nodePackages,
  python,
  root,
  say,
  setUp,
  temporal,
} from './setup.mjs';

await main(async () => {
  const parameters = process.argv.slice(2);
  const install = !parameters.includes('--no-install');
  if (!parameters.includes('--help')) say('▸ setting up');
  if (parameters.includes('--cluster') && !parameters.includes('--help'))
    return onCluster(parameters, install);
  const env = await setUp({ install });
  return hand(process.execPath, [`${root}/dist/demo/main.js`, ...parameters], env);
});

async function onCluster(parameters, install) {
  await git(install);
  await goToolchain();
  await nodePackages();
  await build();
  await temporal();
  const env = { ...process.env, PATH: `${await python(install)}:${process.env.PATH}` };
  say('\n▸ the local cluster');
  const cluster = `${root}/dist/cluster/main.js`;
  const options = { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], maxBuffer: 1 << 26 };
  const state = JSON.parse(execFileSync(process.execPath, [cluster, 'up', '--examples', '--json'], options));
  // Gateway, Temporal and its UI are reached from this machine too, under the same addresses.
  const ports = await freePorts(3);
  execFileSync(process.execPath, [cluster, 'forward', ...ports.map(String)], options);
  const status = await hand(
    process.execPath,
    [
      cluster,
      'exec',
      process.execPath,
      `${root}/dist/demo/main.js`,
      '--cluster-state',
      state.file,
      '--ports',
      ports.join(','),
      ...parameters,
    ],
    env,
  );
  // With --keep whoever looks at it needs them; the cluster's end is theirs.
  if (!parameters.includes('--keep'))
    execFileSync(process.execPath, [cluster, 'stop', `forward-${ports.join('-')}`], options);
  return status;
}

async function freePorts(count) {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = createServer();
      return new Promise((resolve, reject) => {
        server.once('error', reject).listen(0, '127.0.0.1', () => resolve(server));
      });
    }),
  );
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
