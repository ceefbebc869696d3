// The files of a commit, read from a copy of its repository.
import { ThroughlineError } from '../domain/errors.js';
import type { CommitSha } from '../domain/ids.js';
import { normalizePath, type SourceFiles, symbolicLink, tooLarge } from '../plan/index.js';
import type { Copy } from './copy.js';
import { remoteFailure } from './failures.js';
import { gitIn } from './git.js';

/** git ls-tree(1): mode, type, object, then a tab and the name. Sizes would fetch every file of the directory. */
const TREE_ENTRY = /^(\d{6}) (\w+) ([0-9a-f]{40})\t(.*)$/s;
const SYMBOLIC_LINK_MODE = '120000';

interface TreeEntry {
  readonly mode: string;
  readonly type: string;
  readonly object: string;
}

/** A commit does not change: each directory on the way is listed once, however many of its files are asked for. */
export function commitFiles(mirror: Copy, commit: CommitSha): SourceFiles {
  const git = gitIn(mirror.directory);
  const listings = new Map<string, Promise<Map<string, TreeEntry>>>();
  const listing = (tree: string) => {
    const known = listings.get(tree) ?? list(tree);
    listings.set(tree, known);
    return known;
  };
  const list = async (tree: string) => {
    const lines = (await git.raw(['ls-tree', '-z', tree])).split('\0');
    const entries = lines.flatMap((line): [string, TreeEntry][] => {
      const [, mode = '', type = '', object = '', name] = TREE_ENTRY.exec(line) ?? [];
      return name === undefined ? [] : [[name, { mode, type, object }]];
    });
    return new Map(entries);
  };
  const entry = async (path: string) => {
    const parts = normalizePath(path).split('/');
    let found: TreeEntry | undefined;
    for (const [depth, name] of parts.entries()) {
      if (found && found.type !== 'tree') return undefined;
      found = (await listing(found?.object ?? commit)).get(name);
      if (found?.mode === SYMBOLIC_LINK_MODE) throw symbolicLink(path, parts.slice(0, depth + 1).join('/'));
      if (!found) return undefined;
    }
    return found;
  };
  return {
    async kind(path) {
      if (normalizePath(path) === '.') return 'directory';
      const found = await entry(path);
      if (found?.type === 'tree') return 'directory';
      return found?.type === 'blob' ? 'file' : undefined;
    },
    async read(path, maxBytes) {
      const found = await entry(path);
      if (found?.type !== 'blob')
        throw new ThroughlineError('TL_FILE_NOT_FOUND', `There is no file at ${path}`);
      const reading = await mirror.git();
      const bytes = Number(
        await reading.raw(['cat-file', '-s', found.object]).catch((error) => {
          throw remoteFailure(mirror.repository, error); // which is asked for what a partial copy has not
        }),
      );
      if (bytes > maxBytes) throw tooLarge(path, bytes, maxBytes);
      return reading.raw(['cat-file', 'blob', found.object]);
    },
  };
}
