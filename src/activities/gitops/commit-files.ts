// The files of a commit, as changes are laid upon them one after another.
import { ThroughlineError } from '../../domain/errors.js';
import type { CommitSha } from '../../domain/ids.js';
import { type FileEntry, fileEntries, type Mirror, readBlobs } from '../../git/index.js';
import { MAX_MANIFEST_BYTES, normalizePath } from '../../plan/index.js';
import type { NewCommit } from './fast-import.js';
import type { FileEdit } from './target.js';

/** A file that goes. */
export interface FileRemoval {
  readonly path: string;
  readonly text: undefined;
}

export class CommitFiles {
  private readonly entries = new Map<string, FileEntry | undefined>();
  /** What cannot be read is told to whoever asks for it, and to nobody else. */
  private readonly texts = new Map<string, string | ThroughlineError>();

  private constructor(
    private readonly mirror: Mirror,
    private readonly commit: CommitSha,
    private readonly signal: AbortSignal | undefined,
  ) {}

  /** Those that are named are read together; others when they are asked for. */
  static async of(
    mirror: Mirror,
    commit: CommitSha,
    paths: readonly string[],
    signal?: AbortSignal,
  ): Promise<CommitFiles> {
    const files = new CommitFiles(mirror, commit, signal);
    await files.load(paths.map(normalizePath));
    return files;
  }

  /** A file's text with the changes so far; undefined where there is no such file. */
  async read(path: string): Promise<string | undefined> {
    const normal = normalizePath(path);
    if (!this.texts.has(normal) && !this.entries.has(normal)) await this.load([normal]);
    const text = this.texts.get(normal);
    if (text instanceof ThroughlineError) throw text;
    return text;
  }

  /** The id of a file's content, as the commit has it. */
  objectOf(path: string): string | undefined {
    return this.entries.get(normalizePath(path))?.object;
  }

  /** Lays a change on top; gives it as a commit has it. */
  apply(edits: readonly (FileEdit | FileRemoval)[]): NewCommit['files'] {
    return edits.map(({ path, text }) => {
      const normal = normalizePath(path);
      if (text === undefined) this.texts.delete(normal);
      else this.texts.set(normal, text);
      if (!this.entries.has(normal)) this.entries.set(normal, undefined);
      return { path: normal, mode: this.entries.get(normal)?.mode ?? '100644', text };
    });
  }

  private async load(paths: readonly string[]): Promise<void> {
    await this.mirror.fetchFiles(this.commit, paths, this.signal);
    const { directory } = this.mirror;
    const found = await fileEntries(directory, this.commit, paths, this.signal);
    const readable = [...found.values()].filter(({ bytes }) => bytes <= MAX_MANIFEST_BYTES);
    const objects = readable.map(({ object }) => object);
    const blobs = await readBlobs(directory, objects, this.signal);
    for (const path of paths) {
      const entry = found.get(path);
      this.entries.set(path, entry);
      if (entry) this.texts.set(path, textOf(blobs.get(entry.object), path));
    }
  }
}

/** A text that is not UTF-8 could not be written back as it was. */
function textOf(bytes: Buffer | undefined, path: string): string | ThroughlineError {
  const invalid = (message: string, expected: string) =>
    new ThroughlineError('TL_MANIFEST_INVALID', `${path} ${message}`, { expected, where: { file: path } });
  if (!bytes) return invalid('is too large to be a manifest', `at most ${MAX_MANIFEST_BYTES} bytes`);
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return invalid('is not UTF-8', 'YAML as UTF-8, as Kubernetes takes it');
  }
}
