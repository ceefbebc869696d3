// Releases of many models that deploy to one repository at the same time, while somebody else pushes to it every 200 ms: by
// the writer of the branch, and by the loop that stages in bash have (clone, patch, commit, push, retry), in turns. Prints
// seconds from the first request to the last commit on the branch.
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
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
const RIVAL_EVERY_MS = 200;
const TIME_LIMIT_MS = 3_600_000;

interface Measured {
  readonly seconds: number;
  readonly theirs: number;
}

/** Runs something beside the rival, and holds what is on the branch afterwards to what was asked for. */
async function beside(
  directory: string,
  name: string,
  releases: readonly string[],
  run: (repository: string) => Promise<void>,
): Promise<Measured> {
  const bare = join(directory, `${name}.git`);
  const repository = applications(bare, FILES);
  const rival = await Rival.start(join(directory, `${name}-rival`), repository, RIVAL_EVERY_MS);
  const begun = performance.now();
  await run(repository);
  const seconds = (performance.now() - begun) / 1000;
  await rival.stop();
  expect(releasesOn(bare).sort()).toEqual([...releases].sort());
  expect(filesBelow(bare, 'rival')).toEqual([...rival.done].sort());
  return { seconds, theirs: rival.done.length };
}

it('releases into one repository', { timeout: TIME_LIMIT_MS }, async () => {
  const world = await World.start('bench-gitops');
  const lines: string[] = [];
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
      });
      const naive =
        size <= MOST_NAIVE
          ? await beside(world.directory, `naive-${size}`, releases, async (repository) => {
              await Promise.all(
                releases.map((release, index) =>
                  promisify(execFile)('bash', ['-c', NAIVE], {
                    env: {
                      ...process.env,
                      REPOSITORY: repository,
                      WORK: join(world.directory, `naive-${size}-${index}`),
                      APP: `app-${index}`,
                      MANIFEST: pathOf(`app-${index}`),
                      RELEASE: release,
                    },
                  }),
                ),
              );
            })
          : undefined;
      const ratio = naive ? `${(naive.seconds / ours.seconds).toFixed(1)} times` : '';
      lines.push(
        `${String(size).padStart(8)}  ${ours.seconds.toFixed(2).padStart(9)}  ${(naive?.seconds.toFixed(2) ?? 'not run').padStart(9)}  ${ratio.padStart(11)}  ${String(ours.theirs).padStart(6)}`,
      );
    }
    desk.close();
  } finally {
    await world.stop();
  }
  console.log(
    [
      `\n${FILES} files; another client pushes every ${RIVAL_EVERY_MS} ms, and loses nothing`,
      'releases   writer/s     loop/s        ratio  theirs',
      ...lines,
    ].join('\n'),
  );
});
