// The files of a commit on disk.
import { mkdir, mkdtemp, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { CommitSha } from '../domain/ids.js';
import { exists } from '../processes/index.js';
import type { Copy } from './copy.js';

/**
 * Writes the files of a commit below `target`, which appears whole or not at all; done before counts as done. With `below`
 * only those in a directory of the commit, at their places. Submodules are empty directories, and LFS pointers files.
 */
export async function checkOut(
  mirror: Copy,
  commit: CommitSha,
  target: string,
  signal?: AbortSignal,
  below = '.',
): Promise<void> {
  if (await exists(target)) return;
  await mkdir(join(target, '..'), { recursive: true, mode: 0o700 });
  const temporary = await mkdtemp(`${target}.`);
  const index = `${temporary}.index`;
  const place = { GIT_INDEX_FILE: index, GIT_DIR: mirror.directory, GIT_WORK_TREE: temporary };
  try {
    const git = await mirror.git(signal, place);
    // The whole of the index, as attributes of directories above count for what is below.
    await git.raw(['read-tree', commit]);
    if (below === '.' || below === '') await git.raw(['checkout-index', '--all', '--force']);
    else {
      const files = await git.raw(['--literal-pathspecs', 'ls-files', '-z', '--full-name', '--', below]);
      await (await mirror.git(signal, place, files)).raw(['checkout-index', '--force', '-z', '--stdin']);
    }
    await rename(temporary, target).catch(async (error) => {
      if (!(await exists(target))) throw error;
    });
  } finally {
    await rm(temporary, { recursive: true, force: true });
    await rm(index, { force: true });
  }
}
