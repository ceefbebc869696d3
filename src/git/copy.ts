// A repository's copy on this machine, as those see it who read it: a mirror is one (mirror.ts).
import type { SimpleGit } from 'simple-git';

export interface Copy {
  readonly directory: string;
  /** What it is a copy of, by its URL. */
  readonly repository: string;
  /** Git in the copy, with what it takes to ask the remote for what the copy has not. */
  git(signal?: AbortSignal, env?: Readonly<Record<string, string>>, input?: string): Promise<SimpleGit>;
}
