// Where a plan and what it names are read from: a directory (`throughline validate`), or a commit (a release).
import { lstat, readFile } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { ThroughlineError } from '../domain/errors.js';

/** A tree of files. Paths are relative, with `/`. No implementation ever follows a symbolic link. */
export interface SourceFiles {
  /** What is at the path. Throws TL_PATH_UNSAFE where a part of it is a symbolic link or the path leaves the tree. */
  kind(path: string): Promise<'file' | 'directory' | undefined>;
  /** Text of a file that exists. Throws TL_PLAN_TOO_LARGE beyond `maxBytes`, before reading it. */
  read(path: string, maxBytes: number): Promise<string>;
}

/** `./a//b/` → `a/b`. Throws TL_PATH_UNSAFE for what leaves the tree; git and the file system then never see it. */
export function normalizePath(path: string): string {
  const normal = posix.normalize(path).replace(/\/+$/, '');
  if (path.includes('\0') || path.includes('\\') || posix.isAbsolute(path) || /^\.\.(?:\/|$)/.test(normal)) {
    throw new ThroughlineError('TL_PATH_UNSAFE', `The path ${JSON.stringify(path)} leaves the repository`);
  }
  return normal === '' ? '.' : normal;
}

export function symbolicLink(path: string, link: string): ThroughlineError {
  return new ThroughlineError('TL_PATH_UNSAFE', `The path ${path} goes through a symbolic link`, {
    found: `a symbolic link at ${link}`,
  });
}

export function tooLarge(path: string, bytes: number, maxBytes: number): ThroughlineError {
  return new ThroughlineError('TL_PLAN_TOO_LARGE', `${path} is too large`, {
    expected: `at most ${maxBytes} bytes`,
    found: `${bytes} bytes`,
    where: { file: path },
  });
}

/** The files below a directory of this machine. */
export function directoryFiles(root: string): SourceFiles {
  const inspect = async (path: string) => {
    const parts = normalizePath(path).split('/');
    let walked = root;
    let found: Awaited<ReturnType<typeof lstat>> | undefined;
    for (const part of parts) {
      walked = join(walked, part);
      try {
        found = await lstat(walked);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
      if (found.isSymbolicLink()) throw symbolicLink(path, part);
    }
    return found;
  };
  return {
    async kind(path) {
      const found = await inspect(path);
      if (found?.isDirectory()) return 'directory';
      return found?.isFile() ? 'file' : undefined;
    },
    async read(path, maxBytes) {
      const found = await inspect(path);
      if (found && found.size > maxBytes) throw tooLarge(path, Number(found.size), maxBytes);
      return readFile(join(root, normalizePath(path)), 'utf8');
    },
  };
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === 'ENOENT' || code === 'ENOTDIR';
}
