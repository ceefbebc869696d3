// `npm run cluster -- COMMAND`: a local cluster to try Throughline on, and to test it with.

import { join } from 'node:path';
import { Argument, Command } from 'commander';
import { debianPrograms } from './debian.js';
import { down, reset } from './down.js';
import { Layout } from './layout.js';
import { Inside, isAlive } from './machine.js';
import { COSIGN, GITEA, KWOK, part, YQ } from './parts.js';
import { ClusterError, say } from './shell.js';
import { type ClusterState, readState } from './state.js';
import { status } from './status.js';
import { up } from './up.js';

const program = new Command('cluster')
  .description('A local Kubernetes cluster with Argo CD, BuildKit, a registry, a git server and Jaeger')
  .enablePositionalOptions()
  .option('--name <name>', 'which one, where there are several', 'default');

const layout = () => {
  const { name } = program.opts<{ name: string }>();
  if (!/^[a-z0-9-]{1,20}$/.test(name))
    throw new ClusterError(`A cluster's name has lower-case letters, digits and dashes: ${name}`);
  return new Layout(name);
};

program
  .command('up')
  .description('build what is missing, start what is not running')
  .option('--json', 'print on stdout where everything is')
  .option('--examples', 'also make the base images of examples/digits')
  .action(async ({ json, examples }: { json?: boolean; examples?: boolean }) => {
    const state = await up(layout(), { examples: examples ?? false });
    if (json) process.stdout.write(`${JSON.stringify(state)}\n`);
    else describe(state);
  });

program
  .command('status')
  .description('what runs, and where it is')
  .option('--json', 'as JSON')
  .action(async ({ json }: { json?: boolean }) => {
    process.exitCode = await status(layout(), json ?? false);
  });

program
  .command('down')
  .description('end everything of it; its data stays')
  .action(() => down(layout()));
program
  .command('reset')
  .description('end everything of it, and remove its data; what was built stays')
  .action(() => reset(layout()));

program
  .command('exec')
  .description('run a program where the cluster’s addresses are')
  .argument('<program...>')
  .passThroughOptions()
  .action(async (parameters: string[]) => {
    const { inside } = await running();
    process.exitCode = await inside.hand(parameters, process.env);
  });

program
  .command('forward')
  .description('make ports of the cluster’s loopback reachable on this machine’s, until it is taken down')
  .argument('<port...>', 'PORT, or PORT=HOST:PORT')
  .action(async (ports: string[]) => {
    const { inside } = await running();
    const pairs = ports.map((port) => {
      const [listen = '', target = `127.0.0.1:${port}`] = port.split('=');
      return [`127.0.0.1:${listen}`, target];
    });
    await inside.forward(`forward-${ports.join('-').replaceAll(/[^0-9-]/g, '_')}`, Object.fromEntries(pairs));
  });

program
  .command('part')
  .description('build a part that only tests and benchmarks need, and print its directory')
  .addArgument(new Argument('<name>').choices(['cosign', 'gitea', 'kwok', 'yq']))
  .action(async (name: 'cosign' | 'gitea' | 'kwok' | 'yq') => {
    process.stdout.write(`${await part({ cosign: COSIGN, gitea: GITEA, kwok: KWOK, yq: YQ }[name])}\n`);
  });

program
  .command('stop')
  .description('end one component, to see what happens; `up` starts it again')
  .argument('<component>')
  .option('--kill', 'with SIGKILL')
  .action(async (component: string, { kill }: { kill?: boolean }) => {
    const { inside } = await running();
    await inside.stop(component, kill ? 'KILL' : 'TERM');
  });

async function running(): Promise<{ state: ClusterState; inside: Inside }> {
  const where = layout();
  const state = readState(where);
  if (!state || !isAlive(state.machine)) {
    throw new ClusterError('The cluster is not up.\n  Start it: npm run cluster -- up');
  }
  return {
    state,
    inside: new Inside(state.machine, where, join(state.built.tools, 'tools'), await debianPrograms()),
  };
}

function describe(state: ClusterState): void {
  say(`
  kubectl     ${state.kubectl} --kubeconfig ${state.kubernetes.kubeconfig}
  Jaeger      ${state.jaeger.query}/api/services
  registry    ${state.registry.address}, in the cluster's network: npm run cluster -- exec PROGRAM
  git         ${state.git.url}, likewise
  logs        ${state.logs}
  to end it   npm run cluster -- down`);
}

program.parseAsync().catch((error: unknown) => {
  say(
    `\n✘ ${error instanceof ClusterError ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
  );
  process.exitCode = error instanceof ClusterError ? 2 : 1;
});
