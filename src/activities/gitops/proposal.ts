// A change on a branch of its own, from which a pull request proposes it.
//
//   I3  One commit per release and environment: what is on the base branch is not proposed again, and a branch that an
//       earlier attempt pushed is kept. Made anew on the same tip it is the very same commit.
//   I4  Only that branch is written, and only over what this release put there: a commit of somebody else's on it stays. A
//       release that was asked for earlier than what is deployed proposes nothing.
import { messageOf, ThroughlineError } from '../../domain/errors.js';
import type { CommitSha } from '../../domain/ids.js';
import { redact } from '../../domain/urls.js';
import { gitIn, type Mirror, pushFailure, remoteFailure } from '../../git/index.js';
import type { BranchLog } from './branch-log.js';
import type { DeployChange, Proposed } from './change.js';
import { CommitFiles } from './commit-files.js';
import { LOG_FORMAT, parseLog } from './commit-message.js';
import { fieldChanges } from './edit.js';
import type { CommitIdentity } from './fast-import.js';
import { prepareRound, refuseIfSuperseded } from './round.js';
import type { FieldChange } from './target.js';

/** How often the branch, or what it begins at, may move within one call; the caller's own retries come after that. */
const MAX_OVERTAKEN = 10;

export interface ProposalOptions {
  readonly identity: CommitIdentity;
  /** Of the base branch as it is at a commit. */
  readonly logAt: (tip: CommitSha) => Promise<BranchLog>;
  readonly signal: AbortSignal;
  readonly report: (doing: string) => void;
}

/** See {@link GitOpsRepository.propose}. */
export async function propose(
  mirror: Mirror,
  change: DeployChange,
  head: string,
  { identity, logAt, signal, report }: ProposalOptions,
): Promise<Proposed> {
  const { release, environment } = change.message;
  for (let overtaken = 0; overtaken < MAX_OVERTAKEN; overtaken += 1) {
    report(`fetching ${redact(change.repository)}`);
    const tip = await mirror.fetchBranch(change.branch, signal);
    const log = await logAt(tip);
    const landed = log.commitOf(release, environment);
    if (landed) return { landed };
    refuseIfSuperseded(log, change.message);
    const standing = await branchTip(mirror, head, signal);
    if (standing && (await isKept(mirror, tip, { head, standing }, change))) return { commit: standing };
    const round = await prepareRound(mirror, tip, log, [change], identity, signal);
    const commit = round.commits.get(change);
    if (!commit) throw problemIn(round.settled.get(change));
    report(`pushing ${commit.slice(0, 12)} to ${head}`);
    signal.throwIfAborted();
    const start = new Date().toISOString();
    const pushed = await push(mirror, `${commit}:refs/heads/${head}`, head, standing);
    if (pushed) return { commit, pushed: { start, end: new Date().toISOString() } };
  }
  throw new ThroughlineError(
    'TL_REPOSITORY_UNREACHABLE',
    `${redact(change.repository)} moves without pause`,
    {
      expected: `the branch ${head} to stay for a moment`,
    },
  );
}

/** What a change does to the branch as it is, field by field. */
export async function proposedChanges(
  mirror: Mirror,
  change: DeployChange,
  signal: AbortSignal,
): Promise<readonly FieldChange[]> {
  const tip = await mirror.fetchBranch(change.branch, signal);
  const files = await CommitFiles.of(mirror, tip, [change.manifest], signal);
  return fieldChanges(change, change.desired, (path) => files.read(path));
}

/** Deletes the branch; right also where there is none. */
export async function retract(mirror: Mirror, head: string, signal: AbortSignal): Promise<void> {
  for (let overtaken = 0; overtaken < MAX_OVERTAKEN; overtaken += 1) {
    const standing = await branchTip(mirror, head, signal);
    if (!standing || (await push(mirror, `:refs/heads/${head}`, head, standing))) return;
  }
}

/** Where a branch is; undefined where there is none. */
async function branchTip(mirror: Mirror, head: string, signal: AbortSignal): Promise<CommitSha | undefined> {
  try {
    return await mirror.fetchBranch(head, signal);
  } catch (error) {
    if (error instanceof ThroughlineError && error.code === 'TL_REF_NOT_FOUND') return undefined;
    throw error;
  }
}

/** Whether what stands on the branch stays: it can be merged, or is not ours alone. Throws where nothing of it is ours. */
async function isKept(
  mirror: Mirror,
  tip: CommitSha,
  { head, standing }: { readonly head: string; readonly standing: CommitSha },
  { message }: DeployChange,
): Promise<boolean> {
  const git = gitIn(mirror.directory);
  const standsThere = parseLog(await git.raw(['log', LOG_FORMAT, `${tip}..${standing}`]));
  if (standsThere.length === 0) return false; // nothing of anybody's
  const own = standsThere.filter(
    ({ release, environment }) => release === message.release && environment === message.environment,
  );
  if (own.length === 0) {
    throw new ThroughlineError('TL_PUSH_REJECTED', `The branch ${head} is somebody else’s`, {
      expected: 'no branch of that name, or one with the release’s own commit',
      found: standsThere
        .map(({ commit }) => commit.slice(0, 12))
        .join(', ')
        .slice(0, 200),
    });
  }
  return own.length < standsThere.length || (await merges(mirror, tip, standing));
}

/** Whether two commits can be merged. A git before 2.38 does not know: the change is made anew then. */
async function merges(mirror: Mirror, tip: CommitSha, standing: CommitSha): Promise<boolean> {
  if (await mirror.isAncestor(tip, standing)) return true;
  try {
    await mirror.bytes(['merge-tree', '--write-tree', '--no-messages', tip, standing]);
    return true;
  } catch (error) {
    // Where there are conflicts it prints a tree all the same. Else files of the copy could not be fetched.
    if (/^[0-9a-f]{40}\b|usage: |unknown rev /.test(messageOf(error))) return false;
    throw remoteFailure(mirror.repository, error);
  }
}

/** Whether it got through: not where the branch is not as it was. Not abortable, as the writer's pushes are not (I6). */
async function push(
  mirror: Mirror,
  refspec: string,
  head: string,
  standing: CommitSha | undefined,
): Promise<boolean> {
  const lease = `--force-with-lease=refs/heads/${head}:${standing ?? ''}`;
  try {
    await mirror.bytes(['push', '--porcelain', '--no-verify', lease, '--', mirror.repository, refspec]);
    return true;
  } catch (error) {
    const failure = pushFailure(mirror.repository, head, error);
    if (failure === 'raced') return false;
    throw failure;
  }
}

function problemIn(settled: { readonly refused: ThroughlineError } | object | undefined): ThroughlineError {
  if (settled && 'refused' in settled) return settled.refused;
  return new ThroughlineError('TL_INTERNAL', 'A change was left out of its round');
}
