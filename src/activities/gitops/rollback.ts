// Takes a release's change back, and nothing else: as git-revert(1) does, file by file, upon whatever others have written
// since.

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { ThroughlineError } from '../../domain/errors.js';
import type { CommitSha } from '../../domain/ids.js';
import { gitBytes, type Mirror } from '../../git/index.js';
import type { BranchLog } from './branch-log.js';
import type { RollbackChange } from './change.js';
import { CommitFiles, type FileRemoval } from './commit-files.js';
import { fieldsOf } from './edit.js';
import type { FileEdit } from './target.js';

/**
 * What takes the release's commit back. Throws TL_RELEASE_SUPERSEDED where another release has replaced it already, and
 * TL_CHANGED_BY_HAND where somebody has changed what it set: then it is theirs.
 */
export async function rollbackEdits(
  mirror: Mirror,
  log: BranchLog,
  change: RollbackChange,
  files: CommitFiles,
  signal: AbortSignal,
): Promise<readonly (FileEdit | FileRemoval)[]> {
  const { release, model, environment } = change.message;
  const own = log.commitOf(release, environment);
  if (!own) throw new ThroughlineError('TL_INTERNAL', `${release} has deployed nothing to ${environment}`);
  const newest = log.newestOf(model, environment);
  if (newest && newest.release !== release) {
    throw new ThroughlineError('TL_RELEASE_SUPERSEDED', `Another release of ${model} is deployed already`, {
      found: `${newest.release}, as ${newest.commit.slice(0, 12)}`,
      expected: release,
    });
  }
  const paths = await changedBy(mirror, own, signal);
  const [before, after] = await Promise.all(
    [`${own}~1` as CommitSha, own].map((commit) => CommitFiles.of(mirror, commit, paths, signal)),
  );
  if (!before || !after) return [];
  await refuseIfChanged(change, after, files);
  const edits: (FileEdit | FileRemoval)[] = [];
  for (const path of paths) {
    const [was, made, is] = [await before.read(path), await after.read(path), await files.read(path)];
    if (is === undefined || is === was) continue;
    if (is === made) edits.push(was === undefined ? { path, text: undefined } : { path, text: was });
    else
      edits.push({
        path,
        text: await merged(mirror, path, { is, made: made ?? '', was: was ?? '' }, signal),
      });
  }
  return edits;
}

async function changedBy(mirror: Mirror, commit: CommitSha, signal: AbortSignal): Promise<string[]> {
  const parameters = ['diff-tree', '--no-commit-id', '--name-only', '-r', '-z', commit];
  const output = await gitBytes(mirror.directory, parameters, '', signal);
  return output.toString('utf8').split('\0').filter(Boolean);
}

async function refuseIfChanged(change: RollbackChange, made: CommitFiles, is: CommitFiles): Promise<void> {
  const said = (files: CommitFiles) => fieldsOf(change, (path) => files.read(path)).catch(() => undefined);
  if (isDeepStrictEqual(await said(made), await said(is))) return;
  throw changedByHand(
    change.message.environment,
    'another image, model or annotation than the release wrote',
  );
}

/** The text without the change, by git-merge-file(1). */
async function merged(
  mirror: Mirror,
  path: string,
  texts: { readonly is: string; readonly made: string; readonly was: string },
  signal: AbortSignal,
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'throughline-rollback-'));
  try {
    for (const [name, text] of Object.entries(texts)) await writeFile(join(directory, name), text);
    const names = ['is', 'made', 'was'].map((name) => join(directory, name));
    const output = await gitBytes(mirror.directory, ['merge-file', '-p', '-q', ...names], '', signal);
    return output.toString('utf8');
  } catch {
    signal.throwIfAborted();
    throw changedByHand(path, 'lines beside the release’s own that were changed since');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function changedByHand(where: string, found: string): ThroughlineError {
  return new ThroughlineError('TL_CHANGED_BY_HAND', `${where} is not rolled back: somebody has changed it`, {
    found,
    expected: 'what the release has written',
  });
}
