// One round of the writer: changes laid upon the tip of a branch one after another, a commit each. There is no work tree:
// commits are made from the tip's own objects, so whatever else the repository holds stays as it is.
//
//   I3  One commit per release and environment. Before anything is made the branch is searched for the release's own
//       commit, so an attempt whose reply was lost is found again. Author, date, parent and content are functions of the
//       releases, so that two attempts on the same tip make the very same commits.
//   I4  A release that was asked for earlier than what is deployed gives way; and so it does to people (people.ts).
import { ThroughlineError } from '../../domain/errors.js';
import type { CommitSha } from '../../domain/ids.js';
import type { Mirror } from '../../git/index.js';
import type { BranchLog } from './branch-log.js';
import type { GitOpsChange, Written } from './change.js';
import { CommitFiles, type FileRemoval } from './commit-files.js';
import {
  type DeployMessage,
  type DeployTrailers,
  formatHold,
  formatMessage,
  formatRollback,
} from './commit-message.js';
import { EditMemo } from './edit-memo.js';
import { type CommitIdentity, makeCommits, type NewCommit } from './fast-import.js';
import { isHeldByCommit, refuseIfDecided, refuseIfHeld, touchedSince } from './people.js';
import { rollbackEdits } from './rollback.js';
import type { FileEdit } from './target.js';

export interface Round {
  /** What needs no push: what is written already, and what cannot be. */
  readonly settled: ReadonlyMap<GitOpsChange, Written>;
  /** Commits that are to be pushed, the first upon the tip. */
  readonly commits: ReadonlyMap<GitOpsChange, CommitSha>;
}

/** Makes the commits of a round in the mirror alone. */
export async function prepareRound(
  mirror: Mirror,
  tip: CommitSha,
  log: BranchLog,
  changes: readonly GitOpsChange[],
  identity: CommitIdentity,
  signal: AbortSignal,
  memo = new EditMemo(),
): Promise<Round> {
  const settled = new Map<GitOpsChange, Written>();
  const made: [GitOpsChange, NewCommit][] = [];
  const manifests = changes.map(({ manifest }) => manifest);
  const files = await CommitFiles.of(mirror, tip, manifests, signal);
  const touched = await touchedSince(mirror, log, changes, files, signal);
  for (const change of changes) {
    const own = writtenBefore(log, change);
    if (own) {
      settled.set(change, { commit: own });
      continue;
    }
    try {
      const ahead = made.map(([other]) => other);
      refuseIfOvertaken(change, ahead);
      const since = touched.get(change);
      const edits = await editsInRound({ mirror, tip, log, files, memo, signal }, change, since);
      if (edits === 'as it is') {
        settled.set(change, { commit: tip });
        continue;
      }
      made.push([change, { message: textOf(change), date: change.committedAt, files: files.apply(edits) }]);
    } catch (error) {
      if (!(error instanceof ThroughlineError)) throw error;
      settled.set(change, { refused: error });
    }
  }
  const ids = await makeCommits(
    mirror,
    tip,
    identity,
    made.map(([, commit]) => commit),
    signal,
  );
  const commits = new Map<GitOpsChange, CommitSha>();
  made.forEach(([change], index) => {
    const id = ids[index];
    if (id) commits.set(change, id);
  });
  return { settled, commits };
}

/** I3: the commit of an earlier attempt. */
function writtenBefore(log: BranchLog, { kind, message }: GitOpsChange): CommitSha | undefined {
  if (kind === 'deploy') return log.commitOf(message.release, message.environment);
  if (kind === 'rollback') return log.rollbackOf(message.release, message.environment);
  return undefined; // what holds already, holds
}

/** Of the same round. */
function refuseIfOvertaken(change: GitOpsChange, ahead: readonly GitOpsChange[]): void {
  if (change.kind === 'hold') return;
  for (const other of ahead) {
    if (other.kind !== 'deploy') continue;
    const { message } = other;
    const newer = isNewer(message, change.message);
    if (newer) throw superseded(change.message, message.release, message.requestedAt);
  }
}

interface InRound {
  readonly mirror: Mirror;
  readonly tip: CommitSha;
  readonly log: BranchLog;
  readonly files: CommitFiles;
  readonly memo: EditMemo;
  readonly signal: AbortSignal;
}

/** `since` is the last release's commit, where the target's file is not any more as that one left it. */
async function editsInRound(
  { mirror, tip, log, files, memo, signal }: InRound,
  change: GitOpsChange,
  since: CommitSha | undefined,
): Promise<readonly (FileEdit | FileRemoval)[] | 'as it is'> {
  const range = since && { since, tip };
  if (change.kind === 'rollback') return rollbackEdits(mirror, log, change, files, signal);
  if (change.kind === 'deploy') {
    refuseIfSuperseded(log, change.message);
    await refuseIfHeld(change, files);
    if (range) await refuseIfDecided(mirror, range, change, files, signal);
    return memo.editsOf(change, files);
  }
  const edits = await memo.editsOf(change, files);
  if (edits.length > 0) return edits;
  const lifts =
    range && change.hold === undefined && (await isHeldByCommit(mirror, range, change, files, signal));
  return lifts ? edits : 'as it is';
}

function textOf(change: GitOpsChange): string {
  if (change.kind === 'deploy') return formatMessage(change.message);
  return change.kind === 'hold' ? formatHold(change.message) : formatRollback(change.message);
}

/** I4: the last release of this model and environment that was written to the branch must not be newer than ours. */
export function refuseIfSuperseded(log: BranchLog, ours: DeployMessage): void {
  const newest = log.newestOf(ours.model, ours.environment);
  if (newest && isNewer(newest, ours)) {
    throw superseded(ours, newest.release, newest.requestedAt, newest.commit);
  }
}

function superseded(ours: Ordered, release: string, requestedAt: string, commit?: string): ThroughlineError {
  const as = commit ? `, as ${commit.slice(0, 12)}` : '';
  return new ThroughlineError(
    'TL_RELEASE_SUPERSEDED',
    `A newer release of ${ours.model} is deployed already`,
    {
      found: `${release}, asked for at ${requestedAt}${as}`,
      expected: `nothing newer than ${ours.requestedAt}`,
    },
  );
}

type Ordered = Pick<DeployTrailers, 'release' | 'model' | 'environment' | 'requestedAt'>;

function isNewer(other: Ordered, ours: Ordered): boolean {
  if (other.release === ours.release || other.model !== ours.model || other.environment !== ours.environment)
    return false;
  return Date.parse(other.requestedAt) > Date.parse(ours.requestedAt);
}
