// The Forge of Gitea and Forgejo.
import { setTimeout as sleep } from 'node:timers/promises';
import { isOurs } from './branch.js';
import { asProblem, ForgeAnswer, mergeCommit, refusalOf, refused, unless } from './failures.js';
import type {
  Forge,
  ListedPullRequest,
  MergeMethod,
  MergeOptions,
  PullRequestSpec,
  PullRequestState,
} from './forge.js';
import { GiteaApi, type GiteaPullRequest, type GiteaReview } from './gitea-api.js';
import { ownerAndName } from './repository.js';
import { type Obstacles, waitingFor } from './waiting.js';

/** Of a branch that Gitea's database does not have yet. */
const NO_PROTECTION = { required_approvals: 0, enable_status_check: false, status_check_contexts: [] };
/** Of labels that have to be made. */
const COLOR = '#0e8a16';
/** Whether branches conflict is worked out after every push. */
const LOOKS = 10;
const LOOK_MS = 500;

export class GiteaForge implements Forge {
  constructor(
    private readonly apiUrl: string,
    private readonly token: string,
    /** For people. */
    private readonly name = 'Gitea',
  ) {}

  async open(spec: PullRequestSpec, signal: AbortSignal): Promise<PullRequestState> {
    const number = await this.with(
      spec.repository,
      signal,
      `open a pull request from ${spec.head}`,
      async (api) => {
        const pull = (await find(api, spec)) ?? (await create(api, spec, signal));
        if (pull.state === 'open') await label(api, pull, spec.labels ?? []);
        return pull.number;
      },
    );
    const state = await this.state(spec.repository, number, signal);
    return spec.autoMerge && state.state === 'open'
      ? this.merge(spec.repository, number, spec, signal)
      : state;
  }

  state(repository: string, number: number, signal: AbortSignal): Promise<PullRequestState> {
    return this.with(repository, signal, `look at pull request ${number}`, async (api) =>
      this.stateOf(api, await api.pull(number)),
    );
  }

  merge(
    repository: string,
    number: number,
    { mergeMethod = 'merge', squashMessage }: MergeOptions,
    signal: AbortSignal,
  ): Promise<PullRequestState> {
    return this.with(repository, signal, `merge pull request ${number}`, async (api) => {
      await checkMethod(api, this.name, mergeMethod);
      const chosen = {
        Do: mergeMethod,
        ...(mergeMethod === 'squash' && squashMessage ? messageFields(squashMessage) : {}),
      };
      for (let look = 1; ; look += 1) {
        const pull = await api.pull(number);
        if (pull.state !== 'open' || look > LOOKS) return this.stateOf(api, pull);
        const values = { ...chosen, delete_branch_after_merge: isOurs(pull.head.label) };
        const refusal = await refusalOf([405, 409], () => api.merge(number, values));
        if (!refusal) continue; // merged: the next look tells the commit
        if (/user not allowed/i.test(refusal.said)) throw new ForgeAnswer(403, refusal.said, refusal.headers);
        const auto = { ...values, merge_when_checks_succeed: true };
        const unscheduled = await refusalOf([405, 409], () => api.merge(number, auto));
        // 409: it has been asked for before. 405: while it works out whether branches conflict, and where they do.
        if (unscheduled?.status !== 405) return this.stateOf(api, await api.pull(number));
        await sleep(LOOK_MS, undefined, { signal });
      }
    });
  }

  close(repository: string, number: number, comment: string, signal: AbortSignal): Promise<void> {
    return this.with(repository, signal, `close pull request ${number}`, async (api) => {
      const pull = await api.pull(number);
      if (pull.state === 'open') {
        const said = await api.comments(number);
        if (!said.some(({ body }) => body?.trim() === comment.trim())) await api.comment(number, comment);
        await api.edit(number, { state: 'closed' });
      }
      if (!isOurs(pull.head.label) || pull.head.repo_id !== pull.base.repo_id) return;
      await unless([404], () => api.deleteBranch(pull.head.label));
    });
  }

  list(repository: string, headPrefix: string, signal: AbortSignal): Promise<ListedPullRequest[]> {
    return this.with(repository, signal, 'list its pull requests', async (api) =>
      (await api.openPulls())
        .filter(({ head, base }) => head.label.startsWith(headPrefix) && head.repo_id === base.repo_id)
        .map(({ number, html_url: url, head, base, body }) => ({
          number,
          url,
          head: head.label,
          base: base.label,
          body: body ?? '',
        })),
    );
  }

  private async with<T>(
    repository: string,
    signal: AbortSignal,
    doing: string,
    body: (api: GiteaApi) => Promise<T>,
  ): Promise<T> {
    try {
      return await body(new GiteaApi(this.apiUrl, this.token, ownerAndName(repository), signal));
    } catch (error) {
      signal.throwIfAborted();
      throw asProblem(error, this.name, doing, [this.token]);
    }
  }

  private async stateOf(api: GiteaApi, pull: GiteaPullRequest): Promise<PullRequestState> {
    const { number, html_url: url } = pull;
    const which = { number, url, openedAt: pull.created_at ?? undefined };
    if (pull.merged) {
      return {
        state: 'merged',
        ...which,
        commit: mergeCommit(this.name, pull.merge_commit_sha),
        by: pull.merged_by?.login,
        at: pull.merged_at ?? '',
      };
    }
    const events = await api.timeline(number);
    if (pull.state === 'closed') {
      const closing = events.findLast(({ type }) => type === 'close');
      return { state: 'closed', ...which, by: closing?.user?.login, at: pull.closed_at ?? undefined };
    }
    const auto = events.findLast(({ type }) => /^pull_(?:cancel_)?scheduled_merge$/.test(type));
    return {
      state: 'open',
      ...which,
      mergeable: pull.mergeable,
      waitingFor: waitingFor(await obstacles(api, pull), auto?.type === 'pull_scheduled_merge', this.name),
    };
  }
}

/** The open one from that branch, or else the latest. */
async function find(api: GiteaApi, spec: PullRequestSpec): Promise<GiteaPullRequest | undefined> {
  const some = await unless([404], () => api.pullFrom(spec.base, spec.head));
  if (!some || some.state === 'open') return some;
  const from = isFrom(spec);
  return (await api.openPulls()).find(from) ?? (await api.lastClosedPulls()).find(from) ?? some;
}

const isFrom =
  ({ base, head }: PullRequestSpec) =>
  (pull: GiteaPullRequest): boolean =>
    pull.base.label === base && pull.head.label === head && pull.head.repo_id === pull.base.repo_id;

/** Gitea takes two that are opened at the same time: the first stays, whichever attempt it was. */
async function create(api: GiteaApi, spec: PullRequestSpec, signal: AbortSignal): Promise<GiteaPullRequest> {
  const { base, head, title, body } = spec;
  for (let look = 1; ; look += 1) {
    const made = await unless([404, 409], () => api.create({ base, head, title, body }));
    if (made) {
      const [first] = (await api.openPulls())
        .filter(isFrom(spec))
        .sort((one, two) => one.number - two.number);
      if (!first || first.number === made.number) return made;
      await api.edit(made.number, { state: 'closed' });
      return first;
    }
    const found = await find(api, spec);
    if (found) return found;
    await api.repository(); // throws where the token may not see it
    if (look >= LOOKS) throw refused(`There is no branch ${head} or ${base} to open a pull request with`);
    await sleep(LOOK_MS, undefined, { signal }); // until it has seen what was pushed a moment ago
  }
}

/** Labels are for people who look through lists: who may not make them opens pull requests without. */
async function label(api: GiteaApi, pull: GiteaPullRequest, wanted: readonly string[]): Promise<void> {
  const missing = wanted.filter((name) => !pull.labels?.some((one) => one.name === name));
  if (missing.length === 0) return;
  await unless([403, 404, 422], async () => {
    const known = new Map((await api.labels()).map(({ name, id }) => [name, id]));
    const ids: number[] = [];
    for (const name of missing) ids.push(known.get(name) ?? (await api.createLabel(name, COLOR)).id);
    await api.addLabels(pull.number, ids);
  });
}

/** What it would never merge it would take to be merged later, and not say so. */
async function checkMethod(api: GiteaApi, forge: string, method: MergeMethod): Promise<void> {
  const { allow_merge_commits, allow_rebase, allow_squash_merge } = await api.repository();
  const allowed = { merge: allow_merge_commits, rebase: allow_rebase, squash: allow_squash_merge };
  if (allowed[method] !== false) return;
  throw refused(`${forge} does not allow to merge by ${method} in this repository`, {
    expected: Object.entries(allowed)
      .flatMap(([name, may]) => (may ? [name] : []))
      .join(', '),
    found: method,
  });
}

function messageFields(message: string): Record<string, string> {
  const [title = '', ...rest] = message.split('\n');
  return { MergeTitleField: title, MergeMessageField: rest.join('\n').trim() };
}

async function obstacles(api: GiteaApi, pull: GiteaPullRequest): Promise<Obstacles> {
  const protection = (await unless([404], () => api.protectionOf(pull.base.label))) ?? NO_PROTECTION;
  const reviews = latest(await api.reviews(pull.number));
  const needed = protection.required_approvals;
  return {
    conflicts: pull.mergeable || pull.draft ? undefined : `conflicts with ${pull.base.label} to be resolved`,
    draft: pull.draft ?? false,
    changesRequestedBy: reviews.flatMap(({ state, user }) =>
      state === 'REQUEST_CHANGES' && user ? [user.login] : [],
    ),
    approvals: {
      needed,
      given: reviews.filter(({ state, official }) => state === 'APPROVED' && official).length,
    },
    checks: protection.enable_status_check
      ? await unmet(api, pull, protection.status_check_contexts ?? [])
      : [],
  };
}

/** Of every reviewer the last word. */
function latest(reviews: readonly GiteaReview[]): GiteaReview[] {
  const decided = reviews.filter(
    ({ state, dismissed }) => !dismissed && (state === 'APPROVED' || state === 'REQUEST_CHANGES'),
  );
  return [...new Map(decided.map((one) => [one.user?.login, one])).values()];
}

async function unmet(
  api: GiteaApi,
  { head }: GiteaPullRequest,
  contexts: readonly string[],
): Promise<{ name: string; status: string }[]> {
  if (!head.sha) return [];
  const statuses = (await api.status(head.sha)).statuses ?? [];
  const known = statuses.map(({ context, status }) => ({ name: context, status }));
  // A context that is required may be a pattern; a check that has not begun is named by it.
  const waited = contexts
    .filter((context) => !/[*?[]/.test(context) && !known.some(({ name }) => name === context))
    .map((name) => ({ name, status: 'not begun' }));
  return [...known.filter(({ status }) => !['success', 'skipped'].includes(status)), ...waited];
}
