// The Forge of GitLab, gitlab.com and self-managed.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ThroughlineError } from '../../domain/errors.js';
import { redact } from '../../domain/urls.js';
import { isOurs } from './branch.js';
import {
  answerIn,
  asProblem,
  type ForgeAnswer,
  mergeCommit,
  refusalOf,
  refused,
  undecided,
  unless,
} from './failures.js';
import type { Forge, ListedPullRequest, MergeOptions, PullRequestSpec, PullRequestState } from './forge.js';
import { GitLabApi, type GitLabMergeRequest, isOwn } from './gitlab-api.js';
import { addressOf } from './repository.js';
import { type Obstacles, waitingFor } from './waiting.js';

const NAME = 'GitLab';
const LOOKS = 12;
const LOOK_MS = 1_000;

/** While it works out how a merge request stands: after a push, and while it is asked. */
const UNDECIDED: ReadonlySet<string> = new Set(['checking', 'unchecked', 'preparing', 'approvals_syncing']);

/** "Merge requests API", `detailed_merge_status`. */
const WORDS: Readonly<Record<string, string>> = {
  not_approved: 'approvals',
  requested_changes: 'changes that a reviewer asked for',
  ci_must_pass: 'its pipeline to pass',
  ci_still_running: 'its pipeline to end',
  external_status_checks: 'external status checks',
  status_checks_must_pass: 'external status checks',
  discussions_not_resolved: 'discussions to be resolved',
  blocked_status: 'another merge request, which blocks it',
  merge_request_blocked: 'another merge request, which blocks it',
  jira_association_missing: 'a Jira issue to be named',
  policies_denied: 'a policy to be satisfied',
  security_policy_violations: 'a security policy to be satisfied',
  locked_paths: 'paths to be unlocked',
  locked_lfs_files: 'LFS files to be unlocked',
  commits_status: 'its branch to have commits',
  merge_time: 'the time from which it may be merged',
  title_regex: 'a title as the project wants it',
};

export class GitLabForge implements Forge {
  constructor(
    private readonly apiUrl: string,
    private readonly token: string,
    /** Between looks at what GitLab works out. Milliseconds. */
    private readonly pause = LOOK_MS,
  ) {}

  async open(spec: PullRequestSpec, signal: AbortSignal): Promise<PullRequestState> {
    const { repository, base, head, labels = [] } = spec;
    const number = await this.with(repository, signal, `open a merge request from ${head}`, async (api) => {
      const find = async () => {
        const all = await api.from(head, base);
        return all.find(({ state }) => state === 'opened') ?? all[0];
      };
      const make = async () => {
        try {
          return await api.create(spec);
        } catch (error) {
          // 409 where another attempt was faster: "Another open merge request already exists for this source branch".
          const other = answerIn(error)?.status === 409 ? await find() : undefined;
          if (other) return other;
          throw error;
        }
      };
      const request = (await find()) ?? (await make());
      const missing = labels.filter((name) => !request.labels?.includes(name));
      if (request.state === 'opened' && missing.length > 0)
        await unless([403, 404], () => api.addLabels(request.iid, missing));
      return request.iid;
    });
    const state = await this.state(repository, number, signal);
    return spec.autoMerge && state.state === 'open' ? this.merge(repository, number, spec, signal) : state;
  }

  state(repository: string, number: number, signal: AbortSignal): Promise<PullRequestState> {
    return this.with(repository, signal, `look at merge request ${number}`, async (api) =>
      stateOf(await api.show(number)),
    );
  }

  merge(
    repository: string,
    number: number,
    options: MergeOptions,
    signal: AbortSignal,
  ): Promise<PullRequestState> {
    return this.with(repository, signal, `merge merge request ${number}`, async (api) => {
      let last: ForgeAnswer | undefined;
      for (let look = 1; look <= LOOKS; look += 1) {
        if (look > 1) await sleep(this.pause, undefined, { signal });
        const request = await api.show(number);
        const stands = request.detailed_merge_status ?? 'unchecked';
        if (request.state !== 'opened' || request.merge_when_pipeline_succeeds || conflicts(request))
          return stateOf(request);
        if (UNDECIDED.has(stands)) continue;
        const ready = stands === 'mergeable';
        // 405, 409, 422: it stands differently than a moment ago, or GitLab does not merge such a one later.
        const refusal = await refusalOf([405, 409, 422], () => api.merge(request, options, !ready));
        if (!refusal) return stateOf(await api.show(number));
        if (!ready && refusal.status !== 409) throw notAutomatic(refusal);
        last = refusal;
      }
      if (last) throw last;
      throw undecided(NAME, `merge request ${number}`);
    });
  }

  close(repository: string, number: number, comment: string, signal: AbortSignal): Promise<void> {
    return this.with(repository, signal, `close merge request ${number}`, async (api) => {
      const request = await api.show(number);
      if (request.state === 'opened') {
        const said = await api.comments(number);
        if (!said.some((body) => body.trim() === comment.trim())) await api.comment(number, comment);
        await api.close(number);
      }
      if (isOurs(request.source_branch) && isOwn(request))
        await unless([404], () => api.deleteBranch(request.source_branch));
    });
  }

  list(repository: string, headPrefix: string, signal: AbortSignal): Promise<ListedPullRequest[]> {
    return this.with(repository, signal, 'list its merge requests', async (api) =>
      (await api.open())
        .filter(({ source_branch }) => source_branch.startsWith(headPrefix))
        .map((request) => ({
          number: request.iid,
          url: request.web_url,
          head: request.source_branch,
          base: request.target_branch,
          body: request.description ?? '',
        })),
    );
  }

  private async with<T>(
    repository: string,
    signal: AbortSignal,
    doing: string,
    body: (api: GitLabApi) => Promise<T>,
  ): Promise<T> {
    try {
      return await body(new GitLabApi(this.apiUrl, this.token, this.projectOf(repository), signal));
    } catch (error) {
      signal.throwIfAborted();
      throw asProblem(error, NAME, doing, [this.token]);
    }
  }

  /** With its groups, and without the path that GitLab itself is below. */
  private projectOf(repository: string): string {
    const below = new URL(this.apiUrl).pathname.replace(/\/api\/v4\/?$/, '').slice(1);
    const path = addressOf(repository)?.path ?? '';
    const project = below && path.startsWith(`${below}/`) ? path.slice(below.length + 1) : path;
    if (project.includes('/')) return project;
    throw refused('The repository is no project of a group or user', {
      expected: 'a URL that ends in GROUP/PROJECT',
      found: redact(repository),
    });
  }
}

function stateOf(request: GitLabMergeRequest): PullRequestState {
  const { iid: number, web_url: url, created_at } = request;
  const which = { number, url, openedAt: created_at ?? undefined };
  if (request.state === 'merged') {
    // A fast-forward makes no commit: the head of the branch is it.
    const commit = request.merge_commit_sha ?? request.squash_commit_sha ?? request.sha ?? '';
    const by = (request.merge_user ?? request.merged_by)?.username;
    return {
      state: 'merged',
      ...which,
      commit: mergeCommit(NAME, commit),
      by,
      at: request.merged_at ?? '',
    };
  }
  if (request.state === 'closed') {
    const { closed_by, closed_at } = request;
    return { state: 'closed', ...which, by: closed_by?.username, at: closed_at ?? undefined };
  }
  const stands = request.detailed_merge_status ?? 'unchecked';
  return {
    state: 'open',
    ...which,
    waitingFor: waitingFor(obstaclesOf(request), request.merge_when_pipeline_succeeds ?? false, NAME),
    mergeable: UNDECIDED.has(stands) ? undefined : !conflicts(request),
  };
}

function conflicts({ has_conflicts, detailed_merge_status: stands }: GitLabMergeRequest): boolean {
  return stands === 'conflict' || stands === 'broken_status' || (has_conflicts ?? false);
}

function obstaclesOf(request: GitLabMergeRequest): Obstacles {
  const { state, target_branch: base, detailed_merge_status: stands = 'unchecked' } = request;
  if (state === 'locked') return { other: 'GitLab, which is merging it' };
  if (conflicts(request)) return { conflicts: `conflicts with ${base} to be resolved` };
  if (stands === 'need_rebase') return { conflicts: `the branch to be rebased on ${base}` };
  if (stands === 'draft_status') return { draft: true };
  if (stands === null || UNDECIDED.has(stands))
    return { other: 'GitLab to work out whether it can be merged' };
  return stands === 'mergeable' ? {} : { other: WORDS[stands] ?? `what GitLab calls ${stands}` };
}

function notAutomatic({ said, status }: ForgeAnswer): ThroughlineError {
  return refused(`${NAME} does not take the merge request to be merged automatically`, {
    found: said.slice(0, 300) || `status ${status}`,
    hint: 'Before GitLab 17 only a pipeline is waited for. Let people merge, or let it wait for nothing else.',
  });
}
