// Releases of many models that deploy to one repository at the same time, while somebody else pushes to it every 200 ms: by
// the writer of the branch, and by the loop that stages in bash have (clone, patch, commit, push, retry), in turns. Prints
// seconds from the first request to the last commit on the branch; removing the loops' clones afterwards takes a while.
import { spawn } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { GitOpsDesk } from '../src/releases/gitops-desk.js';
import { createLogger } from '../src/telemetry/log.js';
import {
  applications,
  deploymentOf,
  filesBelow,
  NAIVE,
  pathOf,
  Rival,
  releasesOn,
} from '../test/support/gitops.js';
import { World } from '../test/support/world.js';

const SIZES = (process.env.BENCH_GITOPS ?? '1,10,100,1000').split(',').map(Number);
const FILES = Number(process.env.BENCH_FILES ?? 10_000);
/** The loop's pushes grow with the square of its releases: a thousand would take hours. */
const MOST_NAIVE = Number(process.env.BENCH_NAIVE ?? 100);
/** When the loop has lost: a hundred of them leave a machine little else to do. Seconds. */
const NAIVE_SECONDS = Number(process.env.BENCH_NAIVE_SECONDS ?? 600);
const RIVAL_EVERY_MS = 200;
const TIME_LIMIT_MS = 3_600_000;

interface Measured {
  readonly seconds: number;
  /** How many of the releases got through: all of them, but where the loop had lost. */
  readonly landed: number;
  readonly theirs: number;
}

/** Runs something beside the rival, and holds what is on the branch afterwards to what was asked for. */
async function beside(
  directory: string,
  name: string,
  releases: readonly string[],
  run: (repository: string) => Promise<boolean>,
): Promise<Measured> {
  const bare = join(directory, `${name}.git`);
  const repository = applications(bare, FILES);
  const rival = await Rival.start(join(directory, `${name}-rival`), repository, RIVAL_EVERY_MS);
  const begun = performance.now();
  const complete = await run(repository);
  const seconds = (performance.now() - begun) / 1000;
  await rival.stop();
  const landed = releasesOn(bare);
  expect(new Set(landed).size).toBe(landed.length);
  expect(releases).toEqual(expect.arrayContaining(landed));
  if (complete) expect(landed).toHaveLength(releases.length);
  expect(filesBelow(bare, 'rival')).toEqual([...rival.done].sort());
  return { seconds, landed: landed.length, theirs: rival.done.length };
}

/** One loop for each release, all at once. Gives whether all of them got through in time. */
async function loops(directory: string, repository: string, releases: readonly string[]): Promise<boolean> {
  const late = AbortSignal.timeout(NAIVE_SECONDS * 1000);
  setMaxListeners(releases.length, late);
  const ends = releases.map(async (release, index) => {
    const child = spawn('bash', ['-c', NAIVE], {
      env: {
        ...process.env,
        REPOSITORY: repository,
        WORK: join(directory, `naive-${releases.length}-${index}`),
        APP: `app-${index}`,
        MANIFEST: pathOf(`app-${index}`),
        RELEASE: release,
      },
      stdio: ['ignore', 'ignore', 'inherit'],
      detached: true, // a group of its own: git's processes end with it
    });
    const kill = () => child.pid && child.exitCode === null && process.kill(-child.pid, 'SIGTERM');
    late.addEventListener('abort', kill, { once: true });
    const [code] = await once(child, 'exit');
    late.removeEventListener('abort', kill);
    if (code !== 0 && !late.aborted) throw new Error(`the loop of ${release} ended with ${code}`);
  });
  await Promise.all(ends);
  return !late.aborted;
}

it('releases into one repository', { timeout: TIME_LIMIT_MS }, async () => {
  const world = await World.start('bench-gitops');
  console.log(`\n${FILES} files; another client pushes every ${RIVAL_EVERY_MS} ms, and loses nothing`);
  console.log('releases   writer/s     loop/s         ratio theirs');
  try {
    await world.worker();
    const log = createLogger('bench', 'silent');
    const desk = new GitOpsDesk({ client: world.client.client, taskQueue: 'throughline', log });
    for (const size of SIZES) {
      const releases = Array.from({ length: size }, (_, index) => `rel-${size}-${index}`);
      const options = () => ({ signal: new AbortController().signal, report: () => {} });
      const ours = await beside(world.directory, `ours-${size}`, releases, async (repository) => {
        await Promise.all(
          releases.map(async (release, index) => {
            const written = await desk.write(deploymentOf(repository, `app-${index}`, release), options());
            if (!('commit' in written)) throw new Error(JSON.stringify(written));
          }),
        );
        return true;
      });
      const naive =
        size <= MOST_NAIVE
          ? await beside(world.directory, `naive-${size}`, releases, (repository) =>
              loops(world.directory, repository, releases),
            )
          : undefined;
      console.log(lineOf(size, ours, naive));
    }
    desk.close();
  } finally {
    await world.stop();
  }
});

function lineOf(size: number, ours: Measured, naive: Measured | undefined): string {
  const lost = naive && naive.landed < size;
  const loop = naive ? `${lost ? '>' : ''}${naive.seconds.toFixed(2)}` : 'not run';
  const ratio = naive ? `${lost ? '>' : ''}${(naive.seconds / ours.seconds).toFixed(1)} times` : '';
  return [
    String(size).padStart(8),
    ours.seconds.toFixed(2).padStart(11),
    loop.padStart(11),
    ratio.padStart(14),
    String(ours.theirs).padStart(7),
    ...(lost ? [`  the loop was stopped with ${naive.landed} of ${size} through`] : []),
  ].join('');
}
