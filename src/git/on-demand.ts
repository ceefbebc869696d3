// Partial copies: what is left out, and how it comes when it is wanted.
//
// Whether a copy can fetch what it lacks is a matter of the protocol: version 0, which an sshd speaks that lets no
// GIT_PROTOCOL through (and a proxy that drops the header), filters what it sends, and later gives nothing but what refs
// name. A copy of such a server would never get its files, so it is made whole.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { SimpleGit } from 'simple-git';
import { messageOf } from '../domain/errors.js';
import type { CommitSha } from '../domain/ids.js';
import { exists } from '../processes/index.js';
import type { Copy } from './copy.js';
import { withConfiguration } from './environment.js';
import { gitIn } from './git.js';
import { verdictOn } from './server-messages.js';

/** git-config(1): with a promisor remote an object that is not here is no damage, but fetched. The URL holds no secret. */
export async function makePartial(git: SimpleGit, remote: string, url: string): Promise<void> {
  const settings = { url, promisor: 'true', partialCloneFilter: 'blob:none' };
  for (const [key, value] of Object.entries(settings))
    await git.raw(['config', `remote.${remote}.${key}`, value]);
}

const MARKER = 'throughline-on-demand';

/** An object that nobody has: a server of version 2 says so, where one of version 0 is not even asked. */
const NOBODYS = 'f00d'.repeat(10);
const NOT_ASKED = /does not allow request for unadvertised object/i;

/**
 * Finds out once for a copy whether the remote gives objects on demand; otherwise fetches the ref again with all of its
 * files, and leaves nothing out from then on. An outage is for the next time.
 */
export async function ensureOnDemand(
  git: SimpleGit,
  directory: string,
  remote: string,
  refspec: string,
): Promise<void> {
  const marker = join(directory, MARKER);
  if (await exists(marker)) return;
  const fetching = ['fetch', '--quiet', '--no-tags', '--no-write-fetch-head'];
  const answer = await git.raw([...fetching, '--', remote, NOBODYS]).catch(messageOf);
  if (NOT_ASKED.test(answer)) {
    // Another process may do the same at the same time.
    await git.raw(['config', '--unset', `remote.${remote}.partialCloneFilter`]).catch(() => undefined);
    await git.raw([...fetching, '--refetch', '--no-filter', '--', remote, refspec]);
  } else if (!/not our ref/i.test(answer) && verdictOn(answer) !== undefined) return;
  await writeFile(marker, '');
}

/** Fetches those of some files of a commit that are not here, by one request. */
export async function fetchMissing(
  mirror: Copy,
  remote: string,
  commit: CommitSha,
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  // Of what may look for objects this alone says which are missing, and does not fetch them in order to say so.
  const looking = ['--literal-pathspecs', 'rev-list', '--objects', '--missing=print', `${commit}^{tree}`];
  const found = await gitIn(mirror.directory, signal).raw([...looking, '--', ...paths]);
  const missing = found.split('\n').flatMap((line) => /^\?([0-9a-f]+)/.exec(line)?.[1] ?? []);
  if (missing.length === 0) return;
  // As git itself does it, promisor-remote.c: with nothing said of what is here.
  const how = withConfiguration({}, [['fetch.negotiationAlgorithm', 'noop']]);
  const fetching = [
    'fetch',
    '--quiet',
    '--no-tags',
    '--no-write-fetch-head',
    '--filter=blob:none',
    '--stdin',
  ];
  await (await mirror.git(signal, how, `${missing.join('\n')}\n`)).raw([...fetching, remote]);
}
