// A line of commits, made by one process: git-fast-import(1). It writes only the trees on the way to what a commit changes,
// so that a commit costs the same in a repository of ten files and of ten thousand.
import { randomUUID } from 'node:crypto';
import { type CommitSha, parseCommitSha } from '../../domain/ids.js';
import { gitBytes, type Mirror, signCommits } from '../../git/index.js';
import type { CommitSigning } from '../../policy/index.js';

export interface CommitIdentity {
  readonly name: string;
  readonly email: string;
  readonly signing?: CommitSigning | undefined;
}

export interface NewCommit {
  readonly message: string;
  /** ISO 8601, UTC. */
  readonly date: string;
  readonly files: readonly {
    readonly path: string;
    readonly mode: string;
    /** Undefined: the file goes. */
    readonly text: string | undefined;
  }[];
}

/**
 * Makes the commits one upon the other, the first upon `tip`, in the mirror alone; gives their ids in the same order. They
 * are a function of what is asked for: whoever makes them again makes the same ones.
 */
export async function makeCommits(
  mirror: Mirror,
  tip: CommitSha,
  identity: CommitIdentity,
  commits: readonly NewCommit[],
  signal?: AbortSignal,
): Promise<CommitSha[]> {
  if (commits.length === 0) return [];
  const ref = `refs/throughline/landing/${randomUUID()}`;
  const parameters = ['fast-import', '--quiet', '--force', '--done', '--date-format=raw'];
  const marks = await gitBytes(
    mirror.directory,
    parameters,
    importStream(ref, tip, identity, commits),
    signal,
  );
  const made = marks.toString('utf8').trim().split('\n').map(parseCommitSha);
  return identity.signing ? signCommits(mirror.directory, made, identity.signing, signal) : made;
}

/** What git-fast-import reads. Pure. */
export function importStream(
  ref: string,
  tip: string,
  identity: CommitIdentity,
  commits: readonly NewCommit[],
): Buffer {
  const who = `${nameOf(identity.name)} <${nameOf(identity.email)}>`;
  const chunks: Buffer[] = [];
  const line = (text: string) => chunks.push(Buffer.from(`${text}\n`));
  const bytes = (text: string) => {
    const content = Buffer.from(text);
    line(`data ${content.length}`);
    chunks.push(content, Buffer.from('\n'));
  };
  commits.forEach(({ message, date, files }, index) => {
    const at = `${Math.floor(Date.parse(date) / 1000)} +0000`;
    line(`commit ${ref}`);
    line(`mark :${index + 1}`);
    line(`author ${who} ${at}`);
    line(`committer ${who} ${at}`);
    bytes(message);
    line(`from ${index === 0 ? tip : `:${index}`}`);
    for (const { path, mode, text } of files) {
      if (text === undefined) {
        line(`D ${quoted(path)}`);
        continue;
      }
      line(`M ${mode} inline ${quoted(path)}`);
      bytes(text);
    }
    line(`get-mark :${index + 1}`);
  });
  // What is not pushed is nothing: no ref keeps it.
  line(`reset ${ref}`);
  line(`from ${'0'.repeat(40)}`);
  line('');
  line('done');
  return Buffer.concat(chunks);
}

/** As git itself cleans the names of people. */
function nameOf(text: string): string {
  return text.replace(/[<>\r\n\0]/g, '').trim();
}

function quoted(path: string): string {
  return `"${path.replace(/["\\]/g, '\\$&').replace(/\n/g, '\\n')}"`;
}
