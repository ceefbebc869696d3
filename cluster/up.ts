// Brings the cluster up: builds what is missing, starts what is not running, applies what is not applied. Safe to
// interrupt and to repeat at any point.
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { addOns } from './addons.js';
import { baseImages } from './base-images.js';
import { argocdComponents, type Built, type Component, components } from './components.js';
import { certificateCredentials, writeClients, writeCredentials, writeKubeconfig } from './configuration.js';
import { debianPrograms, type Programs } from './debian.js';
import { Images } from './images.js';
import { GIT, type Layout, NAMESPACES, NODE, PORTS } from './layout.js';
import { boot, Inside, isAlive, makeControlGroups } from './machine.js';
import { ARGOCD, announce, BUILD_CLIENT, BUILDKIT, JAEGER, KUBERNETES, OCI, part, TOOLS } from './parts.js';
import { ClusterError, Hopeless, run, say, step, until } from './shell.js';
import { type ClusterState, readState, writeState } from './state.js';

export interface UpOptions {
  /** Also the base images of examples/digits. */
  readonly examples?: boolean;
}

export async function up(layout: Layout, { examples }: UpOptions = {}): Promise<ClusterState> {
  if (process.getuid?.() !== 0) {
    throw new ClusterError('The local cluster makes namespaces, mounts and containers: run this as root.');
  }
  const { built, programs } = await build();
  const begun = Date.now();
  mkdirSync(layout.root, { recursive: true, mode: 0o700 });
  const tools = join(built.tools, 'tools');
  const before = readState(layout);
  const running = before && isAlive(before.machine) ? before : undefined;
  const apiPort = running?.apiPort ?? (await freePort());
  const jaegerPort = running?.jaegerPort ?? (await freePort());
  await credentials(layout, tools, apiPort);

  const machine =
    running?.machine ?? (await step('starting the cluster’s machine', () => boot(layout, tools, programs)));
  makeControlGroups(layout);
  writeState(layout, { machine, apiPort, jaegerPort, built, baseImages: before?.baseImages ?? {} });
  const inside = new Inside(machine, layout, tools, programs);
  await inside
    .forward('forward', {
      [`127.0.0.1:${apiPort}`]: `127.0.0.1:${apiPort}`,
      [`127.0.0.1:${jaegerPort}`]: `127.0.0.1:${PORTS.jaegerQuery}`,
    })
    .catch((error) => {
      if (!running) throw error; // of an earlier `up`: it still forwards
    });
  for (const stage of components(layout, built, programs, inside, apiPort)) await start(stage, inside);
  await addOns(layout, built, programs, inside, () => start(argocdComponents(layout, built, inside), inside));
  const images = new Images(layout, built, programs, inside);
  const bases = examples ? await baseImages(images, programs) : (before?.baseImages ?? {});
  const state = writeState(layout, { machine, apiPort, jaegerPort, built, baseImages: bases });
  say(`  ✔ up in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
  return state;
}

/** Everything that is built or downloaded. */
export async function build(): Promise<{ built: Built; programs: Programs }> {
  announce([KUBERNETES, ARGOCD, BUILDKIT, JAEGER, BUILD_CLIENT, OCI, TOOLS]);
  const programs = await debianPrograms();
  const built = {
    tools: await part(TOOLS),
    oci: await part(OCI),
    buildkit: await part(BUILDKIT),
    buildClient: await part(BUILD_CLIENT),
    jaeger: await part(JAEGER),
    kubernetes: await part(KUBERNETES),
    argocd: await part(ARGOCD),
  };
  return { built, programs };
}

async function start(stage: readonly Component[], inside: Inside): Promise<void> {
  await step(`starting ${stage.map(({ name }) => name).join(', ')}`, async () => {
    await Promise.all(
      stage.map(async ({ name, program, parameters, env, ready }) => {
        await inside.start(name, program, parameters, env);
        await until(
          name,
          60,
          async () => {
            if (await inside.isRunning(name)) return ready();
            throw new Hopeless(`${name} has ended`);
          },
          async () => inside.log(name),
        );
      }),
    );
  });
}

/** Certificates, and the kubeconfigs of everybody but service accounts. */
async function credentials(layout: Layout, tools: string, apiPort: number): Promise<void> {
  const server = `https://127.0.0.1:${apiPort}`;
  // The group is what RBAC goes by (Kubernetes documentation, "Core component roles"); an administrator's is a group of
  // its own that is bound to cluster-admin.
  const users: Record<string, { commonName: string; organizations?: string[]; namespace?: string }> = {
    admin: { commonName: 'admin', organizations: ['system:masters'] },
    argocd: { commonName: 'argocd', organizations: ['system:masters'], namespace: NAMESPACES.argocd },
    'kube-controller-manager': { commonName: 'system:kube-controller-manager' },
    'kube-scheduler': { commonName: 'system:kube-scheduler' },
    'kube-proxy': { commonName: 'system:kube-proxy' },
    kubelet: { commonName: `system:node:${NODE.name}`, organizations: ['system:nodes'] },
  };
  const names = ['localhost', '127.0.0.1', NODE.name, NODE.address];
  const wanted = [
    { name: 'etcd', commonName: 'etcd', hosts: names },
    { name: 'registry', commonName: 'registry', hosts: names },
    { name: 'git', commonName: 'git', hosts: names },
    {
      name: 'apiserver',
      commonName: 'kube-apiserver',
      hosts: [
        ...names,
        NODE.apiService,
        'kubernetes',
        'kubernetes.default',
        'kubernetes.default.svc',
        'kubernetes.default.svc.cluster.local',
      ],
    },
    { name: 'apiserver-client', commonName: 'kube-apiserver', organizations: ['system:masters'] },
    {
      name: 'buildkitd',
      commonName: 'buildkitd',
      hosts: [NODE.buildkitService, `buildkitd.${NAMESPACES.throughline}.svc`, 'localhost', '127.0.0.1'],
    },
    { name: 'buildkit-client', commonName: 'throughline-worker' },
    ...Object.entries(users).map(([name, { commonName, organizations }]) => ({
      name,
      commonName,
      organizations: organizations ?? [],
      hosts: name === 'kubelet' ? names : [],
    })),
  ];
  const user = 'throughline';
  const password = randomBytes(18).toString('hex');
  await run(tools, ['pki', layout.pki, JSON.stringify(wanted)]);
  writeCredentials(layout, user, password, await run(tools, ['htpasswd', user, password]));
  writeClients(layout, GIT);
  for (const [name, { namespace }] of Object.entries(users)) {
    writeKubeconfig(layout, name, server, certificateCredentials(layout, name), namespace);
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (!address || typeof address === 'string') throw new ClusterError('There is no free port');
  return address.port;
}
