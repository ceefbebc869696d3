// Programs that Debian packages: etcd, containerd, runc, a registry, Redis, the CNI plugins, iptables. They are
// downloaded and unpacked into the cache, not installed: nothing of the system changes and no service is started.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { PARTS } from './layout.js';
import { answer, ClusterError, run, step } from './shell.js';

const PACKAGES = [
  'etcd-server',
  'containerd',
  'runc',
  'docker-registry',
  'redis-server',
  'containernetworking-plugins',
  'iptables',
  'iproute2',
  'mount',
  'mmdebstrap',
];

/** Debian names iptables when it installs it (update-alternatives), so that a package that is unpacked has no such names. */
const IPTABLES = { directory: 'usr/sbin', program: 'xtables-nft-multi' };
const IPTABLES_NAMES = ['iptables', 'ip6tables'].flatMap((name) => [name, `${name}-save`, `${name}-restore`]);

/** Programs that must be found afterwards, in the cache or on the machine. */
const PROGRAMS = [
  'etcd',
  'containerd',
  'runc',
  'docker-registry',
  'redis-server',
  'iptables',
  'ip',
  'mount',
  'mmdebstrap',
];

export interface Programs {
  /** An environment in which all of them are found. */
  readonly env: NodeJS.ProcessEnv;
  readonly path: (program: string) => string;
  readonly cniPlugins: string;
}

export async function debianPrograms(): Promise<Programs> {
  const release = (await answer('sh', '-c', '. /etc/os-release && echo "$ID $VERSION_ID"'))?.trim() ?? '';
  const key = createHash('sha256')
    .update(JSON.stringify([PACKAGES, release, process.arch]))
    .digest('hex')
    .slice(0, 12);
  const target = join(PARTS, `debian-${key}`);
  const found = existsSync(target) ? programsIn(target) : undefined;
  if (found) return found;
  if (!(await answer('apt-get', '--version'))) {
    throw new ClusterError(
      'There is no apt-get here, and parts of the local cluster are Debian’s packages.\n  Run this on Debian or Ubuntu; with Docker, make a cluster with kind instead (docs/cluster.md).',
    );
  }
  await step('downloading etcd, containerd, runc, a registry, Redis and CNI plugins', () =>
    unpackPackages(PACKAGES, target, nameIptables),
  );
  const unpacked = programsIn(target);
  if (!unpacked) {
    const missing = PROGRAMS.filter(
      (program) => !directoriesOf(target).some((one) => existsSync(join(one, program))),
    );
    throw new ClusterError(
      `Debian’s packages were unpacked into ${target}, and have no ${missing.join(', ') || 'CNI plugins'}; nor has PATH.\n  Install what is missing with apt-get, then run this again.`,
    );
  }
  return unpacked;
}

/** Something of the cluster's own that is made of what was unpacked. */
type Finish = (tree: string) => void;

/**
 * Downloads packages with everything that they need and the machine does not have, and unpacks them below `target`, which
 * appears whole or not at all. Nothing is installed, and no root is needed.
 */
export async function unpackPackages(
  packages: readonly string[],
  target: string,
  finish: Finish = () => {},
): Promise<void> {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
  const staging = `${target}.${process.pid}`;
  const debs = join(staging, 'debs');
  const download = async () => {
    const words = ['install', '--simulate', '--no-install-recommends', ...packages];
    const plan = await run('apt-get', words, { env });
    // What is installed already is used from where it is; the rest comes with everything that it needs.
    const missing = [...plan.matchAll(/^Inst (\S+) (?:\[[^\]]*\] )?\((\S+)/gm)].map(
      ([, name, version]) => `${name}=${version}`,
    );
    if (missing.length === 0) return;
    await run('apt-get', ['download', '-o', 'APT::Sandbox::User=root', ...missing], { cwd: debs, env });
  };
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(debs, { recursive: true });
  try {
    await download().catch(async () => {
      await run('apt-get', ['update', '-qq'], { env }); // a new machine has no lists yet; others are older than the archive
      return download();
    });
    for (const file of readdirSync(debs)) await run('dpkg-deb', ['--extract', join(debs, file), staging]);
    rmSync(debs, { recursive: true });
    finish(staging);
    rmSync(target, { recursive: true, force: true });
    renameSync(staging, target);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function nameIptables(tree: string): void {
  const directory = join(tree, IPTABLES.directory);
  if (!existsSync(join(directory, IPTABLES.program))) return; // the machine has its own
  for (const name of IPTABLES_NAMES) {
    if (!existsSync(join(directory, name))) symlinkSync(IPTABLES.program, join(directory, name));
  }
}

/** Where programs are looked for: in the cache first, then on the machine. */
function directoriesOf(tree: string): string[] {
  const own = ['usr/sbin', 'usr/bin', 'sbin', 'bin'].map((directory) => join(tree, directory));
  return [...own, ...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
}

function programsIn(tree: string): Programs | undefined {
  const directories = directoriesOf(tree);
  const find = (program: string) =>
    directories.map((one) => join(one, program)).find((one) => existsSync(one));
  if (!PROGRAMS.every((program) => find(program))) return undefined;
  const cniPlugins = [tree, '/']
    .map((base) => join(base, 'usr/lib/cni'))
    .find((one) => existsSync(join(one, 'ptp')));
  if (!cniPlugins) return undefined;
  const machine = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
  const libraries = ['usr/lib', 'lib']
    .map((directory) => join(tree, directory, machine))
    .filter((one) => existsSync(one));
  const extensions = join(tree, 'usr/lib', machine, 'xtables');
  return {
    cniPlugins,
    path: (program) => {
      const path = find(program);
      if (!path) throw new ClusterError(`${program} is not there`);
      return path;
    },
    env: {
      ...process.env,
      PATH: directories.join(delimiter),
      ...(libraries.length > 0 ? { LD_LIBRARY_PATH: libraries.join(delimiter) } : {}),
      ...(existsSync(extensions) ? { XTABLES_LIBDIR: extensions } : {}),
    },
  };
}
