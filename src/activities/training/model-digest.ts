// The digest of a model that is a directory: the sha256 of the lines that `sha256sum` prints for its files, in the order
// of their paths. Anybody can compute it again:
//
//   cd model && find . -type f | sed 's#^\./##' | LC_ALL=C sort | xargs sha256sum | sha256sum
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { ThroughlineError } from '../../domain/errors.js';
import { type Digest, parseDigest } from '../../domain/ids.js';

/** Undefined where the directory holds no file. Throws TL_MODEL_INVALID for what is neither file nor directory. */
export async function digestDirectory(directory: string): Promise<Digest | undefined> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const paths: string[] = [];
  for (const entry of entries) {
    const path = relative(directory, join(entry.parentPath, entry.name)).split(sep).join('/');
    if (entry.isDirectory()) continue;
    if (!entry.isFile()) {
      throw new ThroughlineError('TL_MODEL_INVALID', `The model holds ${path}, which is no regular file`, {
        expected: 'regular files and directories',
      });
    }
    paths.push(path);
  }
  if (paths.length === 0) return undefined;
  paths.sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const lines = createHash('sha256');
  for (const path of paths) {
    const content = createHash('sha256');
    await pipeline(createReadStream(join(directory, path)), content);
    lines.update(`${content.digest('hex')}  ${path}\n`);
  }
  return parseDigest(`sha256:${lines.digest('hex')}`);
}
