// The Forge of GitHub, github.com and Enterprise Server.
import { setTimeout as sleep } from 'node:timers/promises';
import type { ThroughlineError } from '../../domain/errors.js';
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
import { type GitHubAddress, GitHubApi, type GitHubPullRequest } from './github-api.js';
import { ownerAndName } from './repository.js';
import { type Obstacles, waitingFor } from './waiting.js';

const NAME = 'GitHub';
/** Whether branches can be merged is worked out after every push, and after every look. */
const LOOKS = 12;
const LOOK_MS = 1_000;

/** Nothing is in the way: GitHub takes no request to merge such a one later. */
const READY: ReadonlySet<string> = new Set(['CLEAN', 'HAS_HOOKS', 'UNSTABLE']);

/** Where a token comes from: it is one of a person, or of an App's installation. */
export type GitHubTokens = (address: GitHubAddress, signal: AbortSignal) => Promise<string>;

export class GitHubForge implements Forge {
  constructor(
    private readonly apiUrl: string,
    private readonly tokens: GitHubTokens,
    /** Between looks at what GitHub works out. Milliseconds. */
    private readonly pause = LOOK_MS,
  ) {}

  async open(spec: PullRequestSpec, signal: AbortSignal): Promise<PullRequestState> {
    const { repository, base, head, title, body, labels = [] } = spec;
    const number = await this.with(repository, signal, `open a pull request from ${head}`, async (api) => {
      const find = async () => {
        const all = await api.pullsFrom(head, base);
        return all.find(({ state }) => state === 'open') ?? all[0];
      };
      const make = async () => {
        try {
          return await api.create({ base, head, title, body });
        } catch (error) {
          // 422, too, where another attempt was faster: GitHub lets no two be open from one branch.
          const other = answerIn(error)?.status === 422 ? await find() : undefined;
          if (other) return other;
          throw error;
        }
      };
      const pull = (await find()) ?? (await make());
      const missing = labels.filter((name) => !pull.labels.some((label) => label.name === name));
      // Labels are for people who look through lists: who may not make them opens pull requests without.
      if (pull.state === 'open' && missing.length > 0)
        await unless([403, 404, 422], () => api.addLabels(pull.number, missing));
      return pull.number;
    });
    const state = await this.state(repository, number, signal);
    return spec.autoMerge && state.state === 'open' ? this.merge(repository, number, spec, signal) : state;
  }

  state(repository: string, number: number, signal: AbortSignal): Promise<PullRequestState> {
    return this.with(repository, signal, `look at pull request ${number}`, async (api) =>
      stateOf(await api.pull(number)),
    );
  }

  merge(
    repository: string,
    number: number,
    { mergeMethod = 'merge', squashMessage }: MergeOptions,
    signal: AbortSignal,
  ): Promise<PullRequestState> {
    return this.with(repository, signal, `merge pull request ${number}`, async (api) => {
      const message = mergeMethod === 'squash' && squashMessage ? split(squashMessage) : undefined;
      let last: ForgeAnswer | undefined;
      for (let look = 1; look <= LOOKS; look += 1) {
        if (look > 1) await sleep(this.pause, undefined, { signal });
        const pull = await api.pull(number);
        const stands = pull.mergeStateStatus ?? 'UNKNOWN';
        if (pull.state !== 'OPEN' || pull.autoMergeRequest || pull.isInMergeQueue || conflicts(pull))
          return stateOf(pull);
        if (stands === 'UNKNOWN') continue;
        const ready = READY.has(stands);
        // A merge at once is never asked for where something is in the way, be it a queue: an administrator's token would
        // get past it.
        const ask = () => {
          if (!ready) return api.enableAutoMerge(pull, mergeMethod, message);
          return pull.isMergeQueueEnabled ? api.enqueue(pull) : api.merge(pull, mergeMethod, message);
        };
        last = await refusalOf([405, 409, 422], ask);
        if (!last) return stateOf(await api.pull(number));
        if (/not allowed on this repository/i.test(last.said)) throw last;
        // "Pull request is in clean status": what was in the way has gone meanwhile.
        if (!ready && !/in \w+ status/i.test(last.said)) throw notAutomatic(last);
      }
      if (last) throw last;
      throw undecided(NAME, `pull request ${number}`);
    });
  }

  close(repository: string, number: number, comment: string, signal: AbortSignal): Promise<void> {
    return this.with(repository, signal, `close pull request ${number}`, async (api) => {
      const pull = await api.pull(number);
      if (pull.state === 'OPEN') {
        const said = await api.comments(number);
        if (!said.some(({ body }) => body?.trim() === comment.trim())) await api.comment(number, comment);
        await api.close(number);
      }
      // 422: "Reference does not exist".
      if (isOurs(pull.headRefName) && !pull.isCrossRepository)
        await unless([404, 422], () => api.deleteBranch(pull.headRefName));
    });
  }

  list(repository: string, headPrefix: string, signal: AbortSignal): Promise<ListedPullRequest[]> {
    return this.with(repository, signal, 'list its pull requests', async (api) =>
      (await api.openPulls())
        .filter(({ head, base }) => head.ref.startsWith(headPrefix) && head.repo?.id === base.repo.id)
        .map(({ number, html_url: url, head, base, body }) => ({
          number,
          url,
          head: head.ref,
          base: base.ref,
          body: body ?? '',
        })),
    );
  }

  private async with<T>(
    repository: string,
    signal: AbortSignal,
    doing: string,
    body: (api: GitHubApi) => Promise<T>,
  ): Promise<T> {
    const secrets: string[] = [];
    try {
      const address = ownerAndName(repository);
      const token = await this.tokens(address, signal);
      secrets.push(token);
      return await body(new GitHubApi(this.apiUrl, token, address, signal));
    } catch (error) {
      signal.throwIfAborted();
      throw asProblem(error, NAME, doing, secrets);
    }
  }
}

function stateOf(pull: GitHubPullRequest): PullRequestState {
  const { number, url, createdAt } = pull;
  const which = { number, url, openedAt: createdAt ?? undefined };
  if (pull.state === 'MERGED') {
    const commit = mergeCommit(NAME, pull.mergeCommit?.oid);
    return { state: 'merged', ...which, commit, by: pull.mergedBy?.login, at: pull.mergedAt ?? '' };
  }
  if (pull.state === 'CLOSED') {
    const by = pull.timelineItems?.nodes[0]?.actor?.login;
    return { state: 'closed', ...which, by, at: pull.closedAt ?? undefined };
  }
  return {
    state: 'open',
    ...which,
    waitingFor: waitingFor(obstaclesOf(pull), Boolean(pull.autoMergeRequest), NAME),
    mergeable: pull.mergeable === 'UNKNOWN' || !pull.mergeable ? undefined : pull.mergeable === 'MERGEABLE',
  };
}

function conflicts({ mergeable, mergeStateStatus }: GitHubPullRequest): boolean {
  return mergeable === 'CONFLICTING' || mergeStateStatus === 'DIRTY';
}

function obstaclesOf(pull: GitHubPullRequest): Obstacles {
  const asked = (pull.latestOpinionatedReviews?.nodes ?? []).filter(
    ({ state }) => state === 'CHANGES_REQUESTED',
  );
  const names = asked.flatMap(({ author }) => author?.login ?? []);
  const obstacles: Obstacles = {
    conflicts: conflicts(pull)
      ? `conflicts with ${pull.baseRefName} to be resolved`
      : pull.mergeStateStatus === 'BEHIND'
        ? `the branch to be brought up to date with ${pull.baseRefName}`
        : undefined,
    draft: pull.isDraft,
    changesRequestedBy:
      pull.reviewDecision === 'CHANGES_REQUESTED' ? (names.length > 0 ? names : ['somebody']) : [],
    review: pull.reviewDecision === 'REVIEW_REQUIRED',
    checks: unmet(pull),
  };
  const known =
    obstacles.conflicts ||
    obstacles.draft ||
    obstacles.review ||
    [...(obstacles.changesRequestedBy ?? []), ...(obstacles.checks ?? [])].length > 0;
  return { ...obstacles, other: otherwise(pull, Boolean(known)) };
}

function otherwise(
  { isInMergeQueue, mergeStateStatus }: GitHubPullRequest,
  known: boolean,
): string | undefined {
  if (isInMergeQueue) return 'the merge queue';
  if (known) return undefined;
  if (mergeStateStatus === 'BLOCKED') return 'a rule of the branch that GitHub does not name';
  return mergeStateStatus === 'UNKNOWN' ? 'GitHub to work out whether it can be merged' : undefined;
}

/** Of the checks that have to be there, those that are not green. */
function unmet({ statusCheckRollup }: GitHubPullRequest): { name: string; status: string }[] {
  return (statusCheckRollup?.contexts.nodes ?? []).flatMap((check) => {
    const status = (check.conclusion ?? check.status ?? check.state ?? '').toLowerCase();
    const done = ['success', 'neutral', 'skipped'].includes(status);
    return check.isRequired === false || done ? [] : [{ name: check.name ?? check.context ?? '', status }];
  });
}

function split(message: string): { title: string; body: string } {
  const [title = '', ...rest] = message.split('\n');
  return { title, body: rest.join('\n').trim() };
}

function notAutomatic({ said }: ForgeAnswer): ThroughlineError {
  return refused(`${NAME} does not take the pull request to be merged automatically`, {
    found: said.slice(0, 300),
    hint: 'Allow auto-merge in the settings of the repository, or let people merge.',
  });
}
