// The adapter for plain git remotes, over cached mirrors: rounds are made on the tip (round.ts), and pushed.
//
//   I4  Only fast-forward pushes. A round that was overtaken is made anew on the new tip: nothing of others is lost.
import { setTimeout as sleep } from 'node:timers/promises';
import { ThroughlineError } from '../../domain/errors.js';
import type { GitOpsBranch } from '../../domain/gitops.js';
import { type CommitSha, parseCommitSha } from '../../domain/ids.js';
import { redact } from '../../domain/urls.js';
import { Mirror, pushFailure } from '../../git/index.js';
import { BranchLog } from './branch-log.js';
import type {
  DeployChange,
  DeployEdit,
  GitOpsChange,
  GitOpsRepository,
  Proposed,
  Revision,
  WriteOptions,
  Written,
} from './change.js';
import { CommitFiles } from './commit-files.js';
import { fieldsOf } from './edit.js';
import { EditMemo, editsOf } from './edit-memo.js';
import type { CommitIdentity } from './fast-import.js';
import { refuseIfHeld } from './people.js';
import { propose, proposedChanges, retract } from './proposal.js';
import { prepareRound, refuseIfSuperseded } from './round.js';
import type { DeployTarget, FieldChange, SaidFields } from './target.js';

/** How often a push may be overtaken within one call; the caller's own retries come after that. */
const MAX_OVERTAKEN = 50;
/** After this often, one waits between pushes. */
const PATIENT = 8;

export class GitGitOpsRepository implements GitOpsRepository {
  private readonly logs = new Map<string, BranchLog>();
  /** How many commits a push to a branch had when it last got through, where somebody else pushes to it too. */
  private readonly pace = new Map<string, number>();

  constructor(
    private readonly cache: string,
    private readonly identity: CommitIdentity,
  ) {}

  async check(edit: DeployEdit, { signal, report }: WriteOptions): Promise<void> {
    report(`checking ${edit.manifest} in ${redact(edit.repository)}`);
    const mirror = await Mirror.open(this.cache, edit.repository, 'gitops');
    const tip = await mirror.fetchBranch(edit.branch, signal);
    const files = await CommitFiles.of(mirror, tip, [edit.manifest], signal);
    await editsOf(edit, files);
    await refuseIfHeld(edit, files);
  }

  async write(
    { repository, branch }: GitOpsBranch,
    changes: readonly GitOpsChange[],
    { signal, report }: WriteOptions,
  ): Promise<Written[]> {
    const mirror = await Mirror.open(this.cache, repository, 'gitops');
    const settled = new Map<GitOpsChange, Written>();
    const memo = new EditMemo();
    // What is pushed at once: fewer after each time that somebody was faster, because a smaller push takes less time; and
    // fewer where one of them is refused, until that one is alone.
    const busy = `${mirror.directory}\0${branch}`;
    let most = Math.min(changes.length, this.pace.get(busy) ?? changes.length);
    let tip: CommitSha | undefined;
    for (let overtaken = 0; settled.size < changes.length; ) {
      signal.throwIfAborted();
      report(
        overtaken === 0 ? `fetching ${redact(repository)}` : `pushing again, overtaken ${overtaken} times`,
      );
      tip ??= await mirror.fetchBranch(branch, signal);
      const log = await this.logOf(mirror, branch, tip, signal);
      const due = changes.filter((change) => !settled.has(change)).slice(0, most);
      const round = await prepareRound(mirror, tip, log, due, this.identity, signal, memo);
      for (const [change, written] of round.settled) settled.set(change, written);
      const last = [...round.commits.values()].at(-1);
      if (!last) continue;
      report(`pushing ${last.slice(0, 12)} to ${branch}`);
      signal.throwIfAborted();
      const start = new Date().toISOString();
      const pushed = await push(mirror, last, branch);
      tip = pushed === 'done' ? last : undefined;
      if (pushed === 'done') {
        const end = new Date().toISOString();
        for (const [change, commit] of round.commits) settled.set(change, { commit, pushed: { start, end } });
        overtaken = 0;
        most *= 2;
        if (this.pace.has(busy)) this.pace.set(busy, most);
      } else if (pushed === 'overtaken') {
        overtaken += 1;
        // The first time every file had to be edited, which takes long, and is remembered.
        if (overtaken > 1) most = Math.max(1, Math.ceil(round.commits.size / 2));
        this.pace.set(busy, most);
        if (overtaken > MAX_OVERTAKEN) throw overtakenTooOften(repository);
        // At once, because right after somebody's push the time until their next one is longest. Where that does not help,
        // there are several of them, and waiting for a while at random does.
        if (overtaken > PATIENT)
          await sleep(Math.random() * Math.min(1000, 30 * 1.5 ** (overtaken - PATIENT)), undefined, {
            signal,
          });
      } else if (round.commits.size > 1) {
        most = Math.ceil(round.commits.size / 2);
      } else {
        for (const change of round.commits.keys()) settled.set(change, { refused: pushed.refused });
      }
    }
    return changes.map((change) => settled.get(change) ?? { refused: neverSettled() });
  }

  async propose(change: DeployChange, head: string, { signal, report }: WriteOptions): Promise<Proposed> {
    const mirror = await Mirror.open(this.cache, change.repository, 'gitops');
    const logAt = (tip: CommitSha) => this.logOf(mirror, change.branch, tip, signal);
    return propose(mirror, change, head, { identity: this.identity, logAt, signal, report });
  }

  async changes(change: DeployChange, signal: AbortSignal): Promise<readonly FieldChange[]> {
    return proposedChanges(await Mirror.open(this.cache, change.repository, 'gitops'), change, signal);
  }

  async retract(repository: string, head: string, signal: AbortSignal): Promise<void> {
    await retract(await Mirror.open(this.cache, repository, 'gitops'), head, signal);
  }

  async supersededBy(
    change: DeployChange,
    { signal, report }: WriteOptions,
  ): Promise<ThroughlineError | undefined> {
    report(`looking for newer releases in ${redact(change.repository)}`);
    const mirror = await Mirror.open(this.cache, change.repository, 'gitops');
    const tip = await mirror.fetchBranch(change.branch, signal);
    try {
      refuseIfSuperseded(await this.logOf(mirror, change.branch, tip, signal), change.message);
      return undefined;
    } catch (error) {
      if (error instanceof ThroughlineError && error.code === 'TL_RELEASE_SUPERSEDED') return error;
      throw error;
    }
  }

  async stands(change: DeployChange, commit: CommitSha, signal: AbortSignal): Promise<boolean> {
    const mirror = await Mirror.open(this.cache, change.repository, 'gitops');
    return (await mirror.has(commit, signal)) && stands(mirror, commit, change, signal);
  }

  async find(change: DeployChange, { signal, report }: WriteOptions): Promise<CommitSha | undefined> {
    const { repository, branch, message } = change;
    report(`looking for the commit in ${redact(repository)}`);
    const mirror = await Mirror.open(this.cache, repository, 'gitops');
    const tip = await mirror.fetchBranch(branch, signal);
    const log = await this.logOf(mirror, branch, tip, signal);
    return log.commitOf(message.release, message.environment);
  }

  async relation(
    change: DeployChange,
    commit: CommitSha,
    revision: string,
    signal: AbortSignal,
  ): Promise<Revision> {
    if (revision === commit) return 'ours';
    if (!/^[0-9a-f]{40}$/.test(revision)) return 'unknown';
    const mirror = await Mirror.open(this.cache, change.repository, 'gitops');
    if (!(await mirror.has(revision, signal))) return 'unknown';
    const found = parseCommitSha(revision);
    if (await mirror.isAncestor(found, commit)) return 'older';
    if (!(await mirror.isAncestor(commit, found))) return 'unknown';
    if (await stands(mirror, found, change, signal)) return 'kept';
    const log = new BranchLog(); // of that revision, which is not always the tip
    await log.read(mirror, found, signal);
    refuseIfSuperseded(log, change.message);
    return 'changed';
  }

  async fieldsAt(
    target: GitOpsBranch & DeployTarget,
    commit: CommitSha,
    signal: AbortSignal,
  ): Promise<SaidFields> {
    const mirror = await Mirror.open(this.cache, target.repository, 'gitops');
    await mirror.has(commit, signal);
    const files = await CommitFiles.of(mirror, commit, [target.manifest], signal);
    return fieldsOf(target, (path) => files.read(path));
  }

  async fileAt(
    { repository }: GitOpsBranch,
    commit: CommitSha,
    path: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const mirror = await Mirror.open(this.cache, repository, 'gitops');
    await mirror.has(commit, signal);
    return (await CommitFiles.of(mirror, commit, [path], signal)).read(path);
  }

  async hasKustomization(
    repository: string,
    branch: string,
    directory: string,
    signal: AbortSignal,
  ): Promise<boolean> {
    const mirror = await Mirror.open(this.cache, repository, 'gitops');
    const files = mirror.files(await mirror.fetchBranch(branch, signal));
    // As Kustomize looks for its file.
    for (const name of ['kustomization.yaml', 'kustomization.yml', 'Kustomization']) {
      if ((await files.kind(directory === '.' ? name : `${directory}/${name}`)) === 'file') return true;
    }
    return false;
  }

  async defaultBranch(repository: string, signal: AbortSignal): Promise<string | undefined> {
    return (await Mirror.open(this.cache, repository, 'gitops')).defaultBranch(signal);
  }

  private async logOf(
    mirror: Mirror,
    branch: string,
    tip: CommitSha,
    signal: AbortSignal,
  ): Promise<BranchLog> {
    const key = `${mirror.directory}\0${branch}`;
    const log = this.logs.get(key) ?? new BranchLog();
    this.logs.set(key, log);
    await log.read(mirror, tip, signal);
    return log;
  }
}

/** Whether a revision says what the change would make of it. */
async function stands(
  mirror: Mirror,
  revision: CommitSha,
  change: DeployChange,
  signal: AbortSignal,
): Promise<boolean> {
  try {
    const files = await CommitFiles.of(mirror, revision, [change.manifest], signal);
    return (await editsOf(change, files)).length === 0;
  } catch (error) {
    if (error instanceof ThroughlineError) return false;
    throw error;
  }
}

/**
 * Not abortable: a push that was begun is seen to its end, so that a cancellation knows what got through (I6). Throws
 * where nobody knows whether it did.
 */
async function push(
  mirror: Mirror,
  commit: CommitSha,
  branch: string,
): Promise<'done' | 'overtaken' | { readonly refused: ThroughlineError }> {
  try {
    const refspec = `${commit}:refs/heads/${branch}`;
    await mirror.bytes(['push', '--porcelain', '--no-verify', '--', mirror.repository, refspec]);
    return 'done';
  } catch (error) {
    const failure = pushFailure(mirror.repository, branch, error);
    if (failure === 'raced') return 'overtaken';
    if (failure.code !== 'TL_PUSH_REJECTED') throw failure;
    return { refused: failure };
  }
}

function overtakenTooOften(repository: string): ThroughlineError {
  return new ThroughlineError(
    'TL_REPOSITORY_UNREACHABLE',
    `${redact(repository)} is pushed to without pause`,
    {
      expected: `room for a push within ${MAX_OVERTAKEN} tries`,
    },
  );
}

const neverSettled = () => new ThroughlineError('TL_INTERNAL', 'A change was left out of its round');
