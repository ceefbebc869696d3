// I4: of the open pull requests of one model into one environment the newest stays. An older release's attempt that comes
// late finds the newer one, and closes nothing of it.
import type { ReleaseId } from '../../domain/ids.js';
import { markOf } from './body.js';
import { branchPrefixOf } from './branch.js';
import type { Forge, ListedPullRequest } from './forge.js';

export interface OwnPullRequest {
  readonly repository: string;
  readonly base: string;
  readonly environment: string;
  readonly model: string;
  readonly release: ReleaseId;
  /** When the release was asked for. ISO 8601, UTC. */
  readonly requestedAt: string;
  readonly number: number;
}

export interface Superseded {
  readonly closed: readonly Pick<ListedPullRequest, 'number' | 'url'>[];
  /** The open one of a newer release, which supersedes this one. */
  readonly by?: Pick<ListedPullRequest, 'number' | 'url'> | undefined;
}

/** Closes what the release supersedes, with a comment that says so. Can be repeated. */
export async function closeSuperseded(
  forge: Forge,
  own: OwnPullRequest,
  signal: AbortSignal,
): Promise<Superseded> {
  const prefix = branchPrefixOf(own.environment, own.model);
  const others = (await forge.list(own.repository, prefix, signal)).filter(
    ({ base, head }) => base === own.base && head !== `${prefix}${own.release}`,
  );
  const older = others.filter((other) => isOlder(other, own, prefix));
  for (const { number } of older)
    await forge.close(own.repository, number, `Superseded by ${own.release}.`, signal);
  const newer = others.find((other) => !older.includes(other));
  const shown = ({ number, url }: ListedPullRequest) => ({ number, url });
  return { closed: older.map(shown), by: newer && shown(newer) };
}

/** By when they were asked for. People can edit a body: what is not the branch's own mark says nothing, and numbers count. */
function isOlder({ number, body, head }: ListedPullRequest, own: OwnPullRequest, prefix: string): boolean {
  const mark = markOf(body);
  const [its, ours] = [Date.parse(mark?.requestedAt ?? ''), Date.parse(own.requestedAt)];
  if (mark === undefined || head !== `${prefix}${mark.release}` || its === ours) return number < own.number;
  return its < ours;
}
