// The adapter of GitHub against the documented shapes of its REST and GraphQL answers.
import { generateKeyPairSync } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { GitHubForge } from '../../../src/activities/forge/github.js';
import { appTokens } from '../../../src/activities/forge/github-app.js';
import { ThroughlineError } from '../../../src/domain/errors.js';
import { type Answer, Answering, type Asked } from '../../support/answering.js';

const never = new AbortController().signal;
const TOKEN = 'ghp_0123456789abcdef';
const REPOSITORY = 'https://github.example/ml/gitops.git';
const HEAD = 'throughline/production/digits/rel-a';
const SHA = 'a'.repeat(40);
const MERGED = 'b'.repeat(40);

/** As GraphQL has it. */
const PULL = {
  id: 'PR_1',
  number: 7,
  url: 'https://github.example/ml/gitops/pull/7',
  state: 'OPEN',
  isDraft: false,
  isCrossRepository: false,
  headRefName: HEAD,
  headRefOid: SHA,
  baseRefName: 'main',
  mergeable: 'MERGEABLE',
  mergeStateStatus: 'CLEAN',
  reviewDecision: null,
  isInMergeQueue: false,
  isMergeQueueEnabled: false,
  autoMergeRequest: null,
  mergeCommit: null,
  mergedAt: null,
  mergedBy: null,
  closedAt: null,
  statusCheckRollup: null,
  latestOpinionatedReviews: { nodes: [] },
  timelineItems: { nodes: [] },
};
type Pull = { [Name in keyof typeof PULL]: unknown };

/** As REST lists it, as far as it is read. */
const listed = (pull: Record<string, unknown> = {}) => ({
  id: 1,
  number: 7,
  state: 'open',
  html_url: PULL.url,
  body: 'body',
  labels: [],
  head: { ref: HEAD, sha: SHA, repo: { id: 1 } },
  base: { ref: 'main', sha: SHA, repo: { id: 1 } },
  ...pull,
});

const SPEC = {
  repository: REPOSITORY,
  base: 'main',
  head: HEAD,
  title: 'Deploy',
  body: 'body',
  autoMerge: false,
};

let server: Answering;
afterEach(() => server?.stop());

/** A GitHub with one pull request, whose answers a test may replace. */
async function github(
  pull: Partial<Pull>,
  answers: Readonly<Record<string, (asked: Asked, pull: Pull) => Answer | undefined>> = {},
): Promise<{ forge: GitHubForge; pull: Pull }> {
  const own: Pull = { ...PULL, ...pull };
  const usual: typeof answers = {
    query: () => ({ body: { data: { repository: { pullRequest: own } } } }),
    mutation: () => {
      own.autoMergeRequest = { enabledAt: '2026-01-01T00:00:00Z' };
      return { body: { data: { enablePullRequestAutoMerge: { clientMutationId: null } } } };
    },
    'GET /repos/ml/gitops/pulls': () => ({ body: [listed()] }),
    'PUT /repos/ml/gitops/pulls/7/merge': () => {
      const merge = { state: 'MERGED', mergeCommit: { oid: MERGED }, mergedAt: '2026-01-01T00:00:00Z' };
      Object.assign(own, merge, { mergedBy: { login: 'robot' } });
      return { body: { sha: MERGED, merged: true, message: 'Pull Request successfully merged' } };
    },
  };
  server = await Answering.start((asked) => {
    const { method, path, body } = asked;
    const name =
      path === '/graphql'
        ? String(body.query).trimStart().split(/\W/)[0]
        : `${method} ${path.replace(/\?.*/, '')}`;
    return { ...usual, ...answers }[name ?? '']?.(asked, own);
  });
  return { forge: new GitHubForge(server.url, async () => TOKEN, 10), pull: own };
}

async function problemOf(tried: Promise<unknown>): Promise<ThroughlineError> {
  const error = await tried.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ThroughlineError)) throw error ?? new Error('it succeeded');
  return error;
}

describe('opening', () => {
  it('makes none where there is one from the branch', async () => {
    const { forge } = await github({});
    expect(await forge.open(SPEC, never)).toMatchObject({
      state: 'open',
      number: 7,
      waitingFor: 'somebody to merge it',
    });
    expect(server.said[0]).toBe(
      `GET /repos/ml/gitops/pulls?head=ml:${HEAD}&base=main&state=all&sort=created&direction=desc`,
    );
    expect(server.said.filter((one) => one.startsWith('POST /repos'))).toEqual([]);
    expect(server.asked[0]?.headers.authorization).toBe(`token ${TOKEN}`);
  });

  it('makes one with its labels', async () => {
    const { forge } = await github(
      {},
      {
        'GET /repos/ml/gitops/pulls': () => ({ body: [] }),
        'POST /repos/ml/gitops/pulls': () => ({ status: 201, body: listed() }),
        'POST /repos/ml/gitops/issues/7/labels': () => ({ body: [] }),
      },
    );
    await forge.open({ ...SPEC, labels: ['throughline'] }, never);
    const [, created, labelled] = server.asked;
    expect(created?.body).toEqual({ base: 'main', head: HEAD, title: 'Deploy', body: 'body' });
    expect(labelled?.body).toEqual({ labels: ['throughline'] });
  });

  it('takes the one that another attempt has made meanwhile', async () => {
    let made = false;
    const { forge } = await github(
      {},
      {
        'GET /repos/ml/gitops/pulls': () => ({ body: made ? [listed()] : [] }),
        'POST /repos/ml/gitops/pulls': () => {
          made = true;
          const message = `A pull request already exists for ml:${HEAD}.`;
          const errors = [{ resource: 'PullRequest', code: 'custom', message }];
          return { status: 422, body: { message: 'Validation Failed', errors } };
        },
      },
    );
    expect(await forge.open(SPEC, never)).toMatchObject({ number: 7 });
  });

  it('says what GitHub says where it refuses', async () => {
    const { forge } = await github(
      {},
      {
        'GET /repos/ml/gitops/pulls': () => ({ body: [] }),
        'POST /repos/ml/gitops/pulls': () => ({
          status: 422,
          body: {
            message: 'Validation Failed',
            errors: [{ resource: 'PullRequest', field: 'base', code: 'invalid' }],
            documentation_url: 'https://docs.github.com/rest/pulls/pulls#create-a-pull-request',
          },
        }),
      },
    );
    const { problem } = await problemOf(forge.open(SPEC, never));
    expect(problem).toMatchObject({ code: 'TL_PULL_REQUEST_REFUSED' });
    expect(problem.found).toBe('status 422: Validation Failed; PullRequest; base; invalid');
  });
});

describe('how one stands', () => {
  const stands = async (pull: Partial<Pull>) => (await github(pull)).forge.state(REPOSITORY, 7, never);

  it('is told in words', async () => {
    const check = (name: string, conclusion: string | null, isRequired: boolean) => ({
      __typename: 'CheckRun',
      name,
      status: conclusion ? 'COMPLETED' : 'IN_PROGRESS',
      conclusion,
      isRequired,
    });
    const context = { __typename: 'StatusContext', context: 'ci/policy', state: 'PENDING', isRequired: true };
    const nodes = [
      check('build', 'SUCCESS', true),
      check('test', null, true),
      check('lint', 'FAILURE', false),
      context,
    ];
    const blocked = {
      mergeStateStatus: 'BLOCKED',
      reviewDecision: 'REVIEW_REQUIRED',
      statusCheckRollup: { contexts: { nodes } },
    };
    expect(await stands(blocked)).toMatchObject({
      waitingFor: 'a review; checks: test (in_progress), ci/policy (pending)',
      mergeable: true,
    });
  });

  it('is told where somebody asked for changes', async () => {
    const reviews = [
      { state: 'APPROVED', author: { login: 'ana' } },
      { state: 'CHANGES_REQUESTED', author: { login: 'ben' } },
    ];
    const pull = { reviewDecision: 'CHANGES_REQUESTED', latestOpinionatedReviews: { nodes: reviews } };
    expect(await stands({ ...pull, mergeStateStatus: 'BLOCKED' })).toMatchObject({
      waitingFor: 'changes that ben asked for',
    });
  });

  it('is told of conflicts, of a branch behind, of the queue and of what is not named', async () => {
    const words = async (pull: Partial<Pull>) => {
      const state = await stands(pull);
      await server.stop();
      return 'waitingFor' in state ? [state.waitingFor, state.mergeable] : state;
    };
    expect(await words({ mergeable: 'CONFLICTING', mergeStateStatus: 'DIRTY' })).toEqual([
      'conflicts with main to be resolved',
      false,
    ]);
    expect(await words({ mergeStateStatus: 'BEHIND' })).toEqual([
      'the branch to be brought up to date with main',
      true,
    ]);
    expect(await words({ isInMergeQueue: true })).toEqual(['the merge queue', true]);
    expect(await words({ mergeable: 'UNKNOWN', mergeStateStatus: 'UNKNOWN' })).toEqual([
      'GitHub to work out whether it can be merged',
      undefined,
    ]);
    expect(await words({ mergeStateStatus: 'BLOCKED' })).toEqual([
      'a rule of the branch that GitHub does not name',
      true,
    ]);
  });

  it('is told from what the token may see', async () => {
    const { forge } = await github(
      {},
      {
        query: () => ({
          body: {
            data: { repository: { pullRequest: { ...PULL, statusCheckRollup: null } } },
            errors: [
              {
                type: 'FORBIDDEN',
                path: ['repository', 'pullRequest', 'statusCheckRollup'],
                message: 'Resource not accessible by personal access token',
              },
            ],
          },
        }),
      },
    );
    expect(await forge.state(REPOSITORY, 7, never)).toMatchObject({ state: 'open' });
  });

  it('is merged with the commit that the base branch has, or closed by whom', async () => {
    const merged = { state: 'MERGED', mergeCommit: { oid: MERGED }, mergedAt: '2026-01-01T00:00:00Z' };
    expect(await stands({ ...merged, mergedBy: { login: 'ana' } })).toEqual({
      state: 'merged',
      number: 7,
      url: PULL.url,
      commit: MERGED,
      by: 'ana',
      at: '2026-01-01T00:00:00Z',
    });
    await server.stop();
    const closed = { state: 'CLOSED', closedAt: '2026-01-01T00:00:00Z' };
    expect(
      await stands({ ...closed, timelineItems: { nodes: [{ actor: { login: 'ben' } }] } }),
    ).toMatchObject({
      state: 'closed',
      by: 'ben',
    });
  });
});

describe('merging', () => {
  const merges = () => server.asked.filter(({ method }) => method === 'PUT');
  const mutations = () => server.asked.filter(({ body }) => String(body.query).startsWith('mutation'));

  it('is done at once where nothing is in the way, by the method that was asked for', async () => {
    const { forge } = await github({ mergeStateStatus: 'UNSTABLE' });
    const options = { mergeMethod: 'squash' as const, squashMessage: 'Deploy digits\n\nRelease-Id: rel-a\n' };
    const state = await forge.merge(REPOSITORY, 7, options, never);
    expect(state).toMatchObject({ state: 'merged', commit: MERGED, by: 'robot' });
    expect(merges()[0]?.body).toEqual({
      sha: SHA,
      merge_method: 'squash',
      commit_title: 'Deploy digits',
      commit_message: 'Release-Id: rel-a',
    });
    // Again: it is merged already.
    expect(await forge.merge(REPOSITORY, 7, options, never)).toEqual(state);
    expect(merges()).toHaveLength(1);
  });

  it('is never tried past a rule, which an administrator’s token would get by: it is asked for automatically', async () => {
    const { forge } = await github({ mergeStateStatus: 'BLOCKED', reviewDecision: 'REVIEW_REQUIRED' });
    const state = await forge.open({ ...SPEC, autoMerge: true, mergeMethod: 'rebase' }, never);
    expect(state).toMatchObject({ state: 'open', waitingFor: 'a review (auto-merge is set)' });
    expect(merges()).toEqual([]);
    expect(mutations().map(({ body }) => body.variables)).toEqual([
      { input: { pullRequestId: 'PR_1', expectedHeadOid: SHA, mergeMethod: 'REBASE' } },
    ]);
    await forge.merge(REPOSITORY, 7, {}, never);
    expect(mutations()).toHaveLength(1);
  });

  it('goes by the merge queue where there is one', async () => {
    const { forge } = await github(
      { isMergeQueueEnabled: true },
      {
        mutation: (_, pull) => {
          pull.isInMergeQueue = true;
          return { body: { data: { enqueuePullRequest: { clientMutationId: null } } } };
        },
      },
    );
    expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({ waitingFor: 'the merge queue' });
    expect(mutations()[0]?.body.variables).toEqual({
      input: { pullRequestId: 'PR_1', expectedHeadOid: SHA },
    });
    expect(merges()).toEqual([]);
  });

  it('is done at once where what was in the way has gone meanwhile', async () => {
    const { forge } = await github(
      { mergeStateStatus: 'BLOCKED' },
      {
        mutation: (_, pull) => {
          pull.mergeStateStatus = 'CLEAN';
          const message = 'Pull request Pull request is in clean status';
          const errors = [{ type: 'UNPROCESSABLE', path: ['enablePullRequestAutoMerge'], message }];
          return { body: { data: { enablePullRequestAutoMerge: null }, errors } };
        },
      },
    );
    expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({ state: 'merged' });
  });

  it('waits until GitHub knows how it stands', async () => {
    let looks = 0;
    const { forge } = await github(
      {},
      {
        query: (_, pull) => {
          looks += 1;
          const status = looks < 3 ? 'UNKNOWN' : 'CLEAN';
          return { body: { data: { repository: { pullRequest: { ...pull, mergeStateStatus: status } } } } };
        },
      },
    );
    expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({ state: 'merged' });
    await server.stop();
    const other = await github({ mergeStateStatus: 'UNKNOWN' });
    const { code } = await problemOf(other.forge.merge(REPOSITORY, 7, {}, never));
    expect(code).toBe('TL_FORGE_UNREACHABLE');
  });

  it('is told to be impossible where the repository does not allow it', async () => {
    const { forge } = await github(
      { mergeStateStatus: 'BLOCKED' },
      {
        mutation: () => {
          const message = 'Pull request Auto merge is not allowed for this repository';
          return { body: { data: null, errors: [{ type: 'UNPROCESSABLE', path: [], message }] } };
        },
      },
    );
    const { problem } = await problemOf(forge.merge(REPOSITORY, 7, {}, never));
    expect(problem).toMatchObject({
      code: 'TL_PULL_REQUEST_REFUSED',
      hint: expect.stringContaining('Allow auto-merge'),
    });
    await server.stop();
    const other = await github(
      {},
      {
        'PUT /repos/ml/gitops/pulls/7/merge': () => ({
          status: 405,
          body: { message: 'Squash merges are not allowed on this repository.' },
        }),
      },
    );
    const refused = await problemOf(other.forge.merge(REPOSITORY, 7, { mergeMethod: 'squash' }, never));
    expect(refused.code).toBe('TL_PULL_REQUEST_REFUSED');
  });

  it('leaves conflicts to people', async () => {
    const { forge } = await github({ mergeable: 'CONFLICTING', mergeStateStatus: 'DIRTY' });
    expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({ state: 'open', mergeable: false });
    expect([merges(), mutations()]).toEqual([[], []]);
  });
});

describe('closing and listing', () => {
  it('says why once, closes, and deletes the branch, which may be gone', async () => {
    const comments: { body: string }[] = [];
    const { forge } = await github(
      {},
      {
        'GET /repos/ml/gitops/issues/7/comments': () => ({ body: comments }),
        'POST /repos/ml/gitops/issues/7/comments': ({ body }) => {
          comments.push(body as { body: string });
          return { status: 201, body };
        },
        'PATCH /repos/ml/gitops/pulls/7': ({ body }, pull) => {
          pull.state = String(body.state).toUpperCase();
          return { body: listed() };
        },
        [`DELETE /repos/ml/gitops/git/refs/heads/${HEAD}`]: () => ({
          status: 422,
          body: { message: 'Reference does not exist' },
        }),
      },
    );
    for (const _ of [1, 2]) await forge.close(REPOSITORY, 7, 'Superseded', never);
    expect(comments).toEqual([{ body: 'Superseded' }]);
    expect(server.said.filter((one) => one.startsWith('DELETE'))).toHaveLength(2);
  });

  it('lists what comes from the repository itself, over all pages', async () => {
    const { forge } = await github(
      {},
      {
        'GET /repos/ml/gitops/pulls': ({ path }) => {
          if (path.includes('&page=2')) return { body: [listed({ number: 9 })] };
          const fork = listed({ number: 8, head: { ref: HEAD, sha: SHA, repo: { id: 2 } } });
          const gone = listed({ number: 6, head: { ref: HEAD, sha: SHA, repo: null } });
          const topic = listed({ number: 5, head: { ref: 'topic', sha: SHA, repo: { id: 1 } } });
          const next = `<${server.url}/repos/ml/gitops/pulls?state=open&per_page=100&page=2>; rel="next"`;
          return { body: [listed(), fork, gone, topic], headers: { link: next } };
        },
      },
    );
    const found = await forge.list(REPOSITORY, 'throughline/production/digits/', never);
    expect(found.map(({ number }) => number)).toEqual([7, 9]);
    expect(found[0]).toEqual({ number: 7, url: PULL.url, head: HEAD, base: 'main', body: 'body' });
  });
});

describe('a GitHub that does not do it', () => {
  const failing = async (answer: Answer) => {
    const { forge } = await github({}, { query: () => answer, 'GET /repos/ml/gitops/pulls': () => answer });
    return problemOf(forge.list(REPOSITORY, 'x', never));
  };

  it('is asked again no sooner than it says', async () => {
    const limited = await failing({
      status: 429,
      headers: { 'retry-after': '17' },
      body: { message: 'wait' },
    });
    expect(limited).toMatchObject({ code: 'TL_FORGE_UNREACHABLE', retryAfterSeconds: 17 });
    await server.stop();
    const reset = String(Math.floor(Date.now() / 1000) + 90);
    const spent = await failing({
      status: 403,
      headers: { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': reset },
      body: { message: 'API rate limit exceeded for user ID 1.' },
    });
    expect(spent.code).toBe('TL_FORGE_UNREACHABLE');
    expect(spent.retryAfterSeconds).toBeGreaterThan(80);
    await server.stop();
    const secondary = await failing({
      status: 403,
      headers: { 'retry-after': '60' },
      body: { message: 'You have exceeded a secondary rate limit.' },
    });
    expect(secondary).toMatchObject({ code: 'TL_FORGE_UNREACHABLE', retryAfterSeconds: 60 });
  });

  it('says so by GraphQL, too', async () => {
    const errors = [{ type: 'RATE_LIMITED', message: 'API rate limit exceeded', path: [] }];
    const { forge } = await github({}, { query: () => ({ body: { errors } }) });
    expect((await problemOf(forge.state(REPOSITORY, 7, never))).code).toBe('TL_FORGE_UNREACHABLE');
  });

  it('is away, refuses the token, or shows nothing', async () => {
    const codes: string[] = [];
    for (const status of [500, 502, 503, 401, 403, 404]) {
      const error = await failing({ status, body: { message: `no, ${TOKEN}` } });
      codes.push(error.code);
      expect(JSON.stringify(error.problem)).not.toContain(TOKEN);
      await server.stop();
    }
    const { forge } = await github({});
    await server.stop();
    codes.push((await problemOf(forge.state(REPOSITORY, 7, never))).code);
    const [away, denied] = ['TL_FORGE_UNREACHABLE', 'TL_FORGE_DENIED'];
    expect(codes).toEqual([away, away, away, denied, denied, denied, away]);
  });

  it('is followed nowhere with the token', async () => {
    const elsewhere = await Answering.start(() => ({ body: [] }));
    const moved = await failing({
      status: 301,
      headers: { location: `${elsewhere.url}/repositories/1/pulls` },
    });
    expect(moved.problem).toMatchObject({
      code: 'TL_PULL_REQUEST_REFUSED',
      message: 'GitHub has that elsewhere',
    });
    expect(elsewhere.asked).toEqual([]);
    await elsewhere.stop();
  });

  it('is let go where the activity is canceled', async () => {
    const controller = new AbortController();
    const { forge } = await github(
      {},
      {
        query: () => {
          controller.abort(new Error('canceled'));
          return { status: 500 };
        },
      },
    );
    await expect(forge.state(REPOSITORY, 7, controller.signal)).rejects.toThrow('canceled');
  });
});

describe('an App', () => {
  it('has a token of the installation that has the repository, kept for its time', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
    let tokens = 0;
    await github(
      {},
      {
        'GET /repos/ml/gitops/installation': ({ headers }) =>
          headers.authorization?.startsWith('bearer ey') ? { body: { id: 42 } } : { status: 401 },
        'POST /app/installations/42/access_tokens': () => {
          tokens += 1;
          const expires_at = new Date(Date.now() + 3_600_000).toISOString();
          return { status: 201, body: { token: `ghs_installation${tokens}`, expires_at, permissions: {} } };
        },
      },
    );
    const forge = new GitHubForge(server.url, appTokens(server.url, { appId: 1, privateKey: pem }));
    for (const _ of [1, 2]) await forge.state(REPOSITORY, 7, never);
    expect(tokens).toBe(1);
    const last = server.asked.at(-1);
    expect([last?.path, last?.headers.authorization]).toEqual(['/graphql', 'token ghs_installation1']);
  });
});
