// What `npm run demo` and `npm test` need, got in the order in which it is needed. This runs before anything is
// installed, so it uses nothing but Node. All that can be had without touching the system goes into a cache of the
// user's; a system package is installed only where there is no other way, and is announced first.
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
export const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'throughline');
const example = join(root, 'examples', 'digits');

/** A thing that a person has to do something about. */
export class SetupError extends Error {}

export const say = (text) => process.stderr.write(`${text}\n`);

/** Runs a program, with a line every few seconds while it is silent; its output is shown where it fails. */
async function step(what, program, parameters, options = {}) {
  const begun = Date.now();
  const seconds = () => Math.round((Date.now() - begun) / 1000);
  say(`  ${what}`);
  const ticking = setInterval(() => say(`  … ${what}, ${seconds()} s`), 15_000);
  try {
    await new Promise((resolve, reject) => {
      const child = spawn(program, parameters, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
      let output = '';
      const keep = (data) => {
        output = (output + data).slice(-8000);
      };
      child.stdout.on('data', keep);
      child.stderr.on('data', keep);
      child.once('error', reject);
      child.once('close', (code) =>
        code === 0 ? resolve() : reject(new Error(`${program} ended with ${code}\n${output}`)),
      );
    });
    if (seconds() >= 5) say(`  ✔ ${what}, ${seconds()} s`);
  } finally {
    clearInterval(ticking);
  }
}

const hashOf = (...parts) => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, 16);
};

function filesBelow(directory) {
  return readdirSync(directory, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = join(directory, entry.name);
      return entry.isDirectory() ? filesBelow(path) : [path];
    });
}

const isAt = (stamp, value) => existsSync(stamp) && readFileSync(stamp, 'utf8') === value;

/** Node packages, as the lock file says. */
export async function nodePackages() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    throw new SetupError(`Node ${process.versions.node} is too old: Throughline needs 20.19 or later.`);
  }
  const stamp = join(root, 'node_modules', '.throughline');
  const wanted = hashOf(readFileSync(join(root, 'package-lock.json')), process.version);
  if (isAt(stamp, wanted)) return;
  await step(
    'installing Node packages (npm ci)',
    'npm',
    ['ci', '--no-audit', '--no-fund', '--loglevel=error'],
    { cwd: root },
  );
  writeFileSync(stamp, wanted);
}

/** The compiled program and the bundle of its workflows. */
export async function build() {
  const stamp = join(root, 'dist', '.throughline');
  const sources = [
    ...filesBelow(join(root, 'src')),
    ...readdirSync(join(root, 'cluster'))
      .filter((name) => name.endsWith('.ts'))
      .sort()
      .map((name) => join('cluster', name)),
    'package-lock.json',
    'tsconfig.json',
    'scripts/build.mjs',
  ];
  const wanted = hashOf(
    ...sources.map((path) => readFileSync(path.startsWith('/') ? path : join(root, path))),
    ...sources,
  );
  if (isAt(stamp, wanted)) return;
  await step('compiling', process.execPath, [join(root, 'scripts', 'build.mjs')], { cwd: root });
  writeFileSync(stamp, wanted);
}

async function answers(program, ...parameters) {
  try {
    return (await execute(program, parameters, { timeout: 10_000 })).stdout || 'yes';
  } catch {
    return undefined;
  }
}

/** Installs system packages with apt, as root, said first; or says what is missing. */
async function systemPackages(packages, why, install) {
  const isRoot = process.getuid?.() === 0;
  const command = `apt-get install --no-install-recommends ${packages.join(' ')}`;
  if (!install || !isRoot || !(await answers('apt-get', '--version'))) {
    throw new SetupError(`${why}\n  Install it (Debian, Ubuntu: ${command}), then run this again.`);
  }
  say(`  ${why}\n  It is a system package, and there is no other way: running ${command}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  await step('updating the package lists', 'apt-get', ['update', '-qq'], { env });
  await step(
    `installing ${packages.join(', ')}`,
    'apt-get',
    ['install', '-y', '-qq', '--no-install-recommends', ...packages],
    { env },
  );
}

/** git, which everything reads repositories with. */
export async function git(install) {
  if (!(await answers('git', '--version'))) await systemPackages(['git'], 'git is not installed.', install);
}

/** A virtual environment with the example's training requirements. Gives its directory of programs. */
export async function python(install) {
  const requirements = join(example, 'training', 'requirements-dev.txt');
  const wanted = hashOf(
    readFileSync(requirements),
    readFileSync(join(example, 'training', 'requirements.txt')),
  );
  const environment = join(cache, 'python', wanted);
  if (existsSync(join(environment, '.throughline'))) return join(environment, 'bin');
  const version = await answers('python3', '-c', 'import sys; print(*sys.version_info[:2])');
  const [major = 0, minor = 0] = (version ?? '').split(' ').map(Number);
  if (major !== 3 || minor < 11) {
    throw new SetupError(
      `Python 3.11 or later is needed for the example's training${version ? `, and this one is ${major}.${minor}` : ''}.\n  Install it (Debian, Ubuntu: apt-get install python3 python3-venv), then run this again.`,
    );
  }
  rmSync(environment, { recursive: true, force: true });
  mkdirSync(join(cache, 'python'), { recursive: true });
  try {
    await execute('python3', ['-m', 'venv', environment]);
  } catch {
    await systemPackages(['python3-venv'], 'Python’s venv module is not installed.', install);
    await execute('python3', ['-m', 'venv', environment]);
  }
  await step(
    'installing Keras, JAX and scikit-learn into a virtual environment (about 900 MB)',
    join(environment, 'bin', 'python'),
    ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '-r', requirements],
  );
  writeFileSync(join(environment, '.throughline'), '');
  return join(environment, 'bin');
}

/** A builder of images, and what it takes where base images cannot be pulled. Gives environment variables. */
export async function imageBuilder(install) {
  if (process.env.BUILDKIT_HOST && (await answers('buildctl', 'debug', 'workers')))
    return { THROUGHLINE_BUILDER: 'buildctl' };
  if (await answers('docker', 'info')) {
    // Docker's own driver exports no OCI layout; one of BuildKit's does.
    if (!(await answers('docker', 'buildx', 'inspect', 'throughline'))) {
      await step('creating a BuildKit builder in Docker', 'docker', [
        'buildx',
        'create',
        '--name',
        'throughline',
        '--driver',
        'docker-container',
      ]);
    }
    return { THROUGHLINE_BUILDER: 'buildx', BUILDX_BUILDER: 'throughline' };
  }
  if (!(await answers('buildah', '--version'))) {
    await systemPackages(
      ['buildah'],
      'There is no image builder: neither a BuildKit, nor Docker, nor buildah.',
      install,
    );
  }
  const storage = join(cache, 'buildah');
  const base = await goBaseImage(storage, install);
  return {
    THROUGHLINE_BUILDER: 'buildah',
    THROUGHLINE_BUILDAH_STORAGE: storage,
    THROUGHLINE_BUILD_CONTEXTS: `golang:1.26=container-image://${base}`,
  };
}

/** A C compiler, which Go asks for where a program has SQLite in it. */
export async function cCompiler(install) {
  if (await answers('gcc', '--version')) return;
  await systemPackages(['gcc', 'libc6-dev'], 'There is no C compiler, which building Gitea needs.', install);
}

/** The Go that this machine has. */
export async function goToolchain() {
  const version = /go(\d+)\.(\d+)/.exec((await answers('go', 'version')) ?? '');
  const [, wantedMajor, wantedMinor] =
    /^go (\d+)\.(\d+)/m.exec(readFileSync(join(example, 'inference', 'go.mod'), 'utf8')) ?? [];
  if (
    !version ||
    Number(version[1]) * 1000 + Number(version[2]) < Number(wantedMajor) * 1000 + Number(wantedMinor)
  ) {
    throw new SetupError(
      `Go ${wantedMajor}.${wantedMinor} or later is needed for the example's inference service${version ? `, and this one is ${version[0]}` : ''}.\n  Install it (go.dev/doc/install), then run this again.`,
    );
  }
  return (await execute('go', ['env', 'GOROOT'])).stdout.trim();
}

/**
 * The base image `golang`, made of this machine's own Go and the modules of the example: a build needs no registry then.
 * The Dockerfile stays as it is; the image is given to it as a named context.
 */
async function goBaseImage(storage, install) {
  const goroot = await goToolchain();
  await git(install);
  const inference = join(example, 'inference');
  const version = (await execute('go', ['version'])).stdout;
  const key = hashOf(version, readFileSync(join(inference, 'go.sum')), '2');
  const image = `localhost/throughline-golang:${key}`;
  const store = ['--root', join(storage, 'root'), '--runroot', join(storage, 'run')];
  const buildah = async (...parameters) =>
    (await execute('buildah', [...store, ...parameters], { maxBuffer: 1 << 24 })).stdout.trim();
  mkdirSync(storage, { recursive: true });
  if (await buildah('images', '--quiet', image).catch(() => '')) return image;

  const modules = join(cache, 'go-modules', key);
  await step('fetching the Go modules of the inference service', 'go', ['mod', 'download'], {
    cwd: inference,
    env: { ...process.env, GOMODCACHE: modules, GOFLAGS: '-modcacherw' },
  });
  say('  making the base image golang out of this machine’s Go');
  const tree = join(cache, `golang-${process.pid}`);
  const skipped = new Set(['test', 'api', 'doc', 'misc'].map((name) => join(goroot, name)));
  cpSync(goroot, tree, { recursive: true, filter: (path) => !skipped.has(path) });
  mkdirSync(join(cache, 'empty'), { recursive: true });
  const container = await buildah('from', 'scratch');
  try {
    await buildah('add', '--quiet', container, tree, '/usr/local/go');
    await buildah('add', '--quiet', container, modules, '/go/pkg/mod');
    await buildah('add', '--quiet', '--chmod', '1777', container, join(cache, 'empty'), '/tmp');
    const env = {
      PATH: '/usr/local/go/bin:/go/bin:/usr/bin:/bin',
      GOPATH: '/go',
      GOTOOLCHAIN: 'local',
      HOME: '/root',
      GOPROXY: 'off', // all that the example needs is in the image
      GOFLAGS: '-mod=mod -modcacherw',
    };
    await buildah(
      'config',
      ...Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
      container,
    );
    await buildah('commit', '--quiet', container, image);
  } finally {
    await buildah('rm', container).catch(() => undefined);
    rmSync(tree, { recursive: true, force: true });
  }
  return image;
}

/**
 * A PostgreSQL server for the tests of the lineage store: the machine's own, or Debian's packages, unpacked into the cache.
 * Installing them would start a server. Gives the directory of its programs, and libraries of its own. Needs the build.
 */
export async function postgres() {
  const programsIn = (base) => {
    const versions = existsSync(join(base, 'usr/lib/postgresql'))
      ? readdirSync(join(base, 'usr/lib/postgresql')).sort((a, b) => Number(b) - Number(a))
      : [];
    return versions
      .map((version) => join(base, 'usr/lib/postgresql', version, 'bin'))
      .find((bin) => existsSync(join(bin, 'initdb')) && existsSync(join(bin, 'postgres')));
  };
  const onPath = (process.env.PATH ?? '').split(':').find((bin) => existsSync(join(bin, 'initdb')));
  const installed = onPath ?? programsIn('/');
  if (installed) return { THROUGHLINE_TEST_POSTGRES: installed };
  const target = join(cache, 'postgresql');
  if (!programsIn(target)) {
    if (!(await answers('apt-get', '--version'))) {
      throw new SetupError(
        'PostgreSQL’s server is needed for the tests of the lineage store.\n  Install it (initdb and postgres on PATH), then run this again.',
      );
    }
    say('  downloading PostgreSQL (unpacked into the cache, not installed)');
    const { unpackPackages } = await import(`${root}/dist/cluster/debian.js`);
    await unpackPackages(['postgresql'], target);
  }
  const programs = programsIn(target);
  if (!programs)
    throw new SetupError(`Debian’s packages were unpacked into ${target}, and have no PostgreSQL server.`);
  const libraries = readdirSync(join(target, 'usr/lib'))
    .filter((name) => name.endsWith('-linux-gnu'))
    .map((name) => join(target, 'usr/lib', name));
  return { THROUGHLINE_TEST_POSTGRES: programs, THROUGHLINE_TEST_POSTGRES_LIBRARIES: libraries.join(':') };
}

/**
 * An sshd for the tests of git over SSH: Debian's packages, unpacked into the cache, as installing them would start a server
 * on port 22. Without root it logs in whoever runs it, and nobody else; with root it is run as another user, of whom
 * libnss-wrapper tells it. Needs the build.
 */
export async function sshd() {
  const target = join(cache, 'openssh');
  const program = join(target, 'usr/sbin/sshd');
  const isRoot = process.getuid?.() === 0;
  if (!isRoot && existsSync('/usr/sbin/sshd')) return { THROUGHLINE_TEST_SSHD: '/usr/sbin/sshd' };
  if (!existsSync(program)) {
    if (!(await answers('apt-get', '--version'))) {
      throw new SetupError(
        'OpenSSH’s server is needed for the tests of git over SSH.\n  Install it (/usr/sbin/sshd), and run this again, not as root.',
      );
    }
    say('  downloading OpenSSH’s server (unpacked into the cache, not installed)');
    const { unpackPackages } = await import(`${root}/dist/cluster/debian.js`);
    await unpackPackages(['openssh-server', 'libnss-wrapper'], target);
  }
  // A package that is installed already is not unpacked again.
  const own = existsSync(program) ? program : '/usr/sbin/sshd';
  const libraries = ['usr/lib', 'lib']
    .map((directory) => join(target, directory))
    .filter((directory) => existsSync(directory))
    .flatMap((directory) => readdirSync(directory).map((name) => join(directory, name)))
    .filter((directory) => directory.endsWith('-linux-gnu'));
  return { THROUGHLINE_TEST_SSHD: own, THROUGHLINE_TEST_SSHD_LIBRARIES: libraries.join(':') };
}

/** The Temporal server, for what runs where it could not be fetched: the cluster's network reaches nothing outside. */
export async function temporal() {
  const { temporalBinary } = await import(`${root}/dist/dev/temporal-binary.js`);
  await temporalBinary(cache, (text) => say(`  ${text}`));
}

/** Everything that the demo and the tests run with. Gives their environment. */
export async function setUp({ install }) {
  mkdirSync(cache, { recursive: true });
  await git(install);
  await nodePackages();
  await build();
  // The two long ones share no resource but the network and the disk.
  const [programs, builder] = await Promise.all([python(install), imageBuilder(install)]);
  return { ...process.env, ...builder, PATH: `${programs}:${process.env.PATH}` };
}

/** Runs a script to its end, with a readable error, and its exit code. */
export async function main(run) {
  try {
    process.exitCode = await run();
  } catch (error) {
    say(error instanceof SetupError ? `\n✘ ${error.message}` : `\n✘ ${error?.message ?? error}`);
    process.exitCode = error instanceof SetupError ? 2 : 1;
  }
}

/** Runs a program with our own input and output; signals reach it too. Gives its exit code. */
export function hand(program, parameters, env) {
  const child = spawn(program, parameters, { stdio: 'inherit', cwd: root, env });
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  return new Promise((resolve, reject) => {
    child.once('error', reject).once('exit', (code, signal) => resolve(code ?? (signal ? 130 : 1)));
  });
}
