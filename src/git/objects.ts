// Objects of a repository, many at once: one process for a hundred files, where a process for each would take longer than
// the push that they are read for. And git without what simple-git adds to it, where tens of milliseconds decide who is
// first at a branch, or where output is bytes.
import { spawn } from 'node:child_process';
import { joined } from './environment.js';
import { GIT_CONFIG, gitEnvironment, SILENCE_MS } from './git.js';

/** A file of a commit. */
export interface FileEntry {
  readonly mode: '100644' | '100755';
  readonly object: string;
  readonly bytes: number;
}

/**
 * Runs git in a directory with a whole text as its input, and gives back what it printed, as bytes.
 * Throws with what it wrote to its error output.
 */
export function gitBytes(
  directory: string,
  parameters: readonly string[],
  input: string | Uint8Array,
  signal?: AbortSignal,
  env: Readonly<Record<string, string>> = {},
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const config = GIT_CONFIG.flatMap((setting) => ['-c', setting]);
    const child = spawn('git', [...config, ...parameters], {
      cwd: directory,
      env: joined(gitEnvironment(), env),
      stdio: ['pipe', 'pipe', 'pipe'],
      ...(signal ? { signal } : {}),
    });
    const printed: Buffer[] = [];
    const said: Buffer[] = [];
    const silence = setTimeout(() => child.kill(), SILENCE_MS);
    const keep = (chunks: Buffer[]) => (chunk: Buffer) => {
      silence.refresh();
      chunks.push(chunk);
    };
    child.stdout.on('data', keep(printed));
    child.stderr.on('data', keep(said));
    child.stdin.on('error', () => undefined); // it ended early, and says why
    child.once('error', (error) => {
      clearTimeout(silence);
      reject(error);
    });
    child.once('close', (code) => {
      clearTimeout(silence);
      if (code === 0) return resolve(Buffer.concat(printed));
      const text = Buffer.concat(said).toString('utf8').trim();
      const output = Buffer.concat(printed).toString('utf8').trim();
      const ended = `git ${parameters[0] ?? ''} ended with ${code ?? 'a signal: timed out'}`;
      reject(new Error([output, text].filter(Boolean).join('\n') || ended));
    });
    child.stdin.end(input);
  });
}

/** The files at these paths; absent where there is none, or something else: a directory, a symbolic link, a submodule. */
export async function fileEntries(
  directory: string,
  commit: string,
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, FileEntry>> {
  if (paths.length === 0) return new Map();
  const listing = await gitBytes(
    directory,
    ['--literal-pathspecs', 'ls-tree', '--full-tree', '--long', '-z', commit, '--', ...new Set(paths)],
    '',
    signal,
  );
  const entries = listing
    .toString('utf8')
    .split('\0')
    .flatMap((line): [string, FileEntry][] => {
      const [, mode, object = '', bytes, path = ''] =
        /^(100644|100755) blob ([0-9a-f]{40}) +(\d+)\t(.*)$/s.exec(line) ?? [];
      if (mode !== '100644' && mode !== '100755') return [];
      return [[path, { mode, object, bytes: Number(bytes) }]];
    });
  return new Map(entries);
}

/** The contents of blobs, by their ids. */
export async function readBlobs(
  directory: string,
  objects: readonly string[],
  signal?: AbortSignal,
): Promise<ReadonlyMap<string, Buffer>> {
  const wanted = [...new Set(objects)];
  if (wanted.length === 0) return new Map();
  const output = await gitBytes(directory, ['cat-file', '--batch'], `${wanted.join('\n')}\n`, signal);
  return parseBatch(output);
}

/** The output of `git cat-file --batch`: a line of id, type and size, the bytes, and a line break, for each object. */
export function parseBatch(output: Buffer): ReadonlyMap<string, Buffer> {
  const blobs = new Map<string, Buffer>();
  for (let at = 0; at < output.length; ) {
    const end = output.indexOf(0x0a, at);
    const [id = '', type, size] = output.toString('utf8', at, end).split(' ');
    if (type === 'missing' || size === undefined) {
      at = end + 1;
      continue;
    }
    const start = end + 1;
    blobs.set(id, output.subarray(start, start + Number(size)));
    at = start + Number(size) + 1;
  }
  return blobs;
}
