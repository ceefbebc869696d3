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
import type { GitOpsChange, GitOpsEdit, Written } from './change.js';
import { CommitFiles } from './commit-files.js';
import { type DeployMessage, type DeployTrailers, formatHold, formatMessage } from './commit-message.js';
import { editHold, editTarget } from './edit.js';
import { type CommitIdentity, makeCommits, type NewCommit } from './fast-import.js';
import { isHeldByCommit, refuseIfDecided, refuseIfHeld, touchedSince } from './people.js';
import type { FileEdit, ReadFile } from './target.js';

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
): Promise<Round> {
  const settled = new Map<GitOpsChange, Written>();
  const made: [GitOpsChange, NewCommit][] = [];
  const ahead: DeployMessage[] = [];
  const manifests = changes.map(({ manifest }) => manifest);
  const files = await CommitFiles.of(mirror, tip, manifests, signal);
  const touched = await touchedSince(mirror, log, changes, files, signal);
  for (const change of changes) {
    const own = change.kind === 'deploy' && log.commitOf(change.message.release, change.message.environment);
    if (own) {
      settled.set(change, { commit: own });
      continue;
    }
    const since = touched.get(change);
    const range = since && { since, tip };
    try {
      if (change.kind === 'deploy') {
        refuseIfSuperseded(log, change.message);
        const before = ahead.find((other) => isNewer(other, change.message));
        if (before) throw superseded(change.message, before.release, before.requestedAt);
        await refuseIfHeld(change, files);
        if (range) await refuseIfDecided(mirror, range, change, files, signal);
      }
      const edits = await editsOf(change, files);
      if (change.kind === 'hold' && edits.length === 0) {
        const lifts = range && change.hold === undefined;
        if (!lifts || !(await isHeldByCommit(mirror, range, change, files, signal))) {
          settled.set(change, { commit: tip }); // it says so already
          continue;
        }
      }
      const message = change.kind === 'hold' ? formatHold(change.message) : formatMessage(change.message);
      made.push([change, { message, date: change.committedAt, files: files.apply(edits) }]);
      if (change.kind === 'deploy') ahead.push(change.message);
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

/** What a change does to the files as they are. Throws where it cannot be made. */
export function editsOf(edit: GitOpsEdit, files: CommitFiles): Promise<readonly FileEdit[]> {
  const read: ReadFile = (path) => files.read(path);
  return edit.kind === 'deploy' ? editTarget(edit, edit.desired, read) : editHold(edit, edit.hold, read);
}

/** I4: the last release of this model and environment that was written to the branch must not be newer than ours. */
export function refuseIfSuperseded(log: BranchLog, ours: DeployMessage): void {
  const newest = log.newestOf(ours.model, ours.environment);
  if (newest && isNewer(newest, ours)) {
    throw superseded(ours, newest.release, newest.requestedAt, newest.commit);
  }
}

function superseded(
  ours: DeployMessage,
  release: string,
  requestedAt: string,
  commit?: string,
): ThroughlineError {
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
