// The base images of examples/digits, for a cluster that reaches no registry but its own: Python on Debian with the
// example's packages to install from, and this machine's Go with the example's modules. The example's Dockerfiles stay
// as they are: a build is given these as named contexts.
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Programs } from './debian.js';
import { debianRoot, type Images } from './images.js';
import { PARTS, REGISTRY, ROOT } from './layout.js';
import { ClusterError, run, step } from './shell.js';

const EXAMPLE = join(ROOT, 'examples', 'digits');

/** Image that a Dockerfile names → image of the cluster's registry. */
export type BaseImages = Readonly<Record<string, string>>;

export async function baseImages(images: Images, programs: Programs): Promise<BaseImages> {
  return {
    [baseOf('training')]: await pythonImage(images, programs),
    [baseOf('inference')]: await goImage(images),
  };
}

/** The first image that a Dockerfile of the example builds from. */
function baseOf(directory: string): string {
  const [, base] = /^FROM (\S+)/m.exec(readFileSync(join(EXAMPLE, directory, 'Dockerfile'), 'utf8')) ?? [];
  if (!base) throw new ClusterError(`${directory}/Dockerfile names no base image`);
  return base;
}

async function pythonImage(images: Images, programs: Programs): Promise<string> {
  const root = await debianRoot(programs);
  const requirements = join(EXAMPLE, 'training', 'requirements.txt');
  const version = /python3\.(\d+)$/m.exec(
    await run('tar', ['--list', '--file', root, '--wildcards', './usr/bin/python3.*']),
  );
  if (!version) throw new ClusterError(`There is no Python in ${root}`);
  const minor = Number(version[1]);
  const key = keyOf(readFileSync(requirements), root);
  const wheels = join(PARTS, `wheels-${key}`);
  await made(wheels, `downloading the example’s Python packages for Python 3.${minor}`, async (target) => {
    // For the image's Python, which may be another one than this machine's.
    const machine = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
    const platforms = ['manylinux_2_28', 'manylinux_2_27', 'manylinux_2_17', 'manylinux2014'].flatMap(
      (name) => ['--platform', `${name}_${machine}`],
    );
    const only = [
      '--only-binary=:all:',
      '--python-version',
      `3.${minor}`,
      '--implementation',
      'cp',
      '--abi',
      `cp3${minor}`,
      '--abi',
      'abi3',
      '--abi',
      'none',
      ...platforms,
    ];
    await run('python3', [
      '-m',
      'pip',
      'download',
      '--quiet',
      '--disable-pip-version-check',
      '--dest',
      target,
      ...only,
      '-r',
      requirements,
    ]);
  });
  const reference = `${REGISTRY}/base/python:${key}`;
  await step('making the base image python', () =>
    images.push(reference, {
      env: [
        'PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin',
        'PIP_NO_INDEX=1', // all that the example needs is in the image
        'PIP_FIND_LINKS=/wheels',
        'PIP_BREAK_SYSTEM_PACKAGES=1', // an image has one purpose: its system's Python is its program's
        'PIP_ROOT_USER_ACTION=ignore',
      ],
      layers: [{ tar: root }, { files: { '/wheels': wheels } }],
    }),
  );
  return reference;
}

async function goImage(images: Images): Promise<string> {
  const inference = join(EXAMPLE, 'inference');
  const goroot = (await run('go', ['env', 'GOROOT'])).trim();
  const key = keyOf(await run('go', ['version']), readFileSync(join(inference, 'go.sum')));
  const tree = join(PARTS, `golang-${key}`);
  await made(tree, 'gathering this machine’s Go and the modules of the example’s service', async (target) => {
    await run('go', ['mod', 'download'], {
      cwd: inference,
      env: { ...process.env, GOMODCACHE: join(target, 'modules'), GOFLAGS: '-modcacherw' },
    });
    const skipped = new Set(['test', 'api', 'doc', 'misc'].map((name) => join(goroot, name)));
    cpSync(goroot, join(target, 'go'), { recursive: true, filter: (path) => !skipped.has(path) });
  });
  const reference = `${REGISTRY}/base/golang:${key}`;
  await step('making the base image golang', () =>
    images.push(reference, {
      env: [
        'PATH=/usr/local/go/bin:/go/bin:/usr/bin:/bin',
        'GOPATH=/go',
        'GOTOOLCHAIN=local',
        'HOME=/root',
        'GOPROXY=off', // all that the example needs is in the image
        'GOFLAGS=-mod=mod -modcacherw',
      ],
      workdir: '/go',
      layers: [
        {
          files: { '/usr/local/go': join(tree, 'go'), '/go/pkg/mod': join(tree, 'modules') },
          directories: { '/tmp': '1777', '/root': '700' },
        },
      ],
    }),
  );
  return reference;
}

/** Makes a directory once, whole or not at all. */
async function made(target: string, what: string, make: (staging: string) => Promise<void>): Promise<void> {
  if (existsSync(target)) return;
  const staging = `${target}.${process.pid}`;
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  try {
    await step(what, () => make(staging));
    renameSync(staging, target);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

function keyOf(...parts: (string | Buffer)[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 12);
}
