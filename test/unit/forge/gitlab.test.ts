// The adapter of GitLab against the documented shapes of its merge requests.
import { afterEach, describe, expect, it } from 'vitest';
import { GitLabForge } from '../../../src/activities/forge/gitlab.js';
import { ThroughlineError } from '../../../src/domain/errors.js';
import { type Answer, Answering, type Asked } from '../../support/answering.js';

const never = new AbortController().signal;
const TOKEN = 'glpat-0123456789abcdef';
const HEAD = 'throughline/production/digits/rel-a';
const SHA = 'a'.repeat(40);
const MERGED = 'b'.repeat(40);
const SQUASHED = 'c'.repeat(40);
/** A project below two groups, in a GitLab below a path. */
const REPOSITORY = 'https://gitlab.example/forge/ml/teams/gitops.git';
const PROJECT = '/forge/api/v4/projects/ml/teams/gitops';
const REQUEST = `${PROJECT}/merge_requests/7`;

const OPEN = {
  id: 1,
  iid: 7,
  project_id: 3,
  title: 'Deploy',
  description: 'body',
  state: 'opened',
  web_url: 'https://gitlab.example/forge/ml/teams/gitops/-/merge_requests/7',
  source_branch: HEAD,
  target_branch: 'main',
  source_project_id: 3,
  target_project_id: 3,
  labels: [],
  sha: SHA,
  merge_status: 'can_be_merged',
  detailed_merge_status: 'mergeable',
  has_conflicts: false,
  merge_when_pipeline_succeeds: false,
  merge_commit_sha: null,
  squash_commit_sha: null,
  merged_at: null,
  merge_user: null,
  merged_by: null,
  closed_by: null,
  closed_at: null,
};
type Request = { [Name in keyof typeof OPEN]: unknown };

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

async function gitlab(
  values: Partial<Request>,
  answers: Readonly<Record<string, (asked: Asked, request: Request) => Answer | undefined>> = {},
): Promise<{ forge: GitLabForge; request: Request }> {
  const request: Request = { ...OPEN, ...values };
  const usual: typeof answers = {
    [`GET ${PROJECT}/merge_requests`]: () => ({ body: [request] }),
    [`GET ${REQUEST}`]: () => ({ body: request }),
    [`PUT ${REQUEST}/merge`]: ({ body }) => {
      if (body.auto_merge && request.detailed_merge_status !== 'mergeable') {
        request.merge_when_pipeline_succeeds = true;
      } else {
        const squash_commit_sha = body.squash ? SQUASHED : null;
        const merge = { state: 'merged', merge_commit_sha: MERGED, squash_commit_sha };
        Object.assign(request, merge, {
          merged_at: '2026-01-01T00:00:00Z',
          merge_user: { username: 'robot' },
        });
      }
      return { body: request };
    },
  };
  server = await Answering.start((asked) =>
    ({ ...usual, ...answers })[`${asked.method} ${asked.path.replace(/\?.*/, '')}`]?.(asked, request),
  );
  return { forge: new GitLabForge(`${server.url}/forge/api/v4`, TOKEN, 10), request };
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
    const { forge } = await gitlab({});
    expect(await forge.open(SPEC, never)).toMatchObject({ state: 'open', number: 7, mergeable: true });
    const [first] = server.asked;
    expect(first?.headers['private-token']).toBe(TOKEN);
    const query = new URLSearchParams(first?.path.replace(/.*\?/, ''));
    expect(Object.fromEntries(query)).toMatchObject({
      source_branch: HEAD,
      target_branch: 'main',
      scope: 'all',
    });
    expect(server.said.filter((one) => one.startsWith('POST'))).toEqual([]);
  });

  it('makes one with its labels', async () => {
    const { forge } = await gitlab(
      {},
      {
        [`GET ${PROJECT}/merge_requests`]: () => ({ body: [] }),
        [`POST ${PROJECT}/merge_requests`]: (_, request) => {
          request.labels = ['throughline', 'production'];
          return { status: 201, body: request };
        },
      },
    );
    await forge.open({ ...SPEC, labels: ['throughline', 'production'] }, never);
    expect(server.asked[1]?.body).toEqual({
      source_branch: HEAD,
      target_branch: 'main',
      title: 'Deploy',
      description: 'body',
      labels: 'throughline,production',
      remove_source_branch: true,
    });
  });

  it('takes the one that another attempt has made meanwhile', async () => {
    let made = false;
    const { forge } = await gitlab(
      {},
      {
        [`GET ${PROJECT}/merge_requests`]: (_, request) => ({ body: made ? [request] : [] }),
        [`POST ${PROJECT}/merge_requests`]: () => {
          made = true;
          const message = ['Another open merge request already exists for this source branch: !7'];
          return { status: 409, body: { message } };
        },
      },
    );
    expect(await forge.open(SPEC, never)).toMatchObject({ number: 7 });
  });

  it('says what GitLab says where it refuses', async () => {
    const { forge } = await gitlab(
      {},
      {
        [`GET ${PROJECT}/merge_requests`]: () => ({ body: [] }),
        [`POST ${PROJECT}/merge_requests`]: () => ({
          status: 422,
          body: { message: { target_branch: ['does not exist'] } },
        }),
      },
    );
    const { problem } = await problemOf(forge.open(SPEC, never));
    expect(problem).toMatchObject({ code: 'TL_PULL_REQUEST_REFUSED', found: 'status 422: does not exist' });
  });
});

describe('how one stands', () => {
  it('is told in words', async () => {
    const { forge, request } = await gitlab({});
    const words = async (values: Partial<Request>) => {
      Object.assign(request, { ...OPEN, ...values });
      const state = await forge.state(REPOSITORY, 7, never);
      return 'waitingFor' in state ? [state.waitingFor, state.mergeable] : [];
    };
    expect(await words({})).toEqual(['somebody to merge it', true]);
    expect(await words({ detailed_merge_status: 'not_approved' })).toEqual(['approvals', true]);
    expect(
      await words({ detailed_merge_status: 'ci_still_running', merge_when_pipeline_succeeds: true }),
    ).toEqual(['its pipeline to end (auto-merge is set)', true]);
    expect(await words({ detailed_merge_status: 'conflict', has_conflicts: true })).toEqual([
      'conflicts with main to be resolved',
      false,
    ]);
    expect(await words({ detailed_merge_status: 'need_rebase' })).toEqual([
      'the branch to be rebased on main',
      true,
    ]);
    expect(await words({ detailed_merge_status: 'checking' })).toEqual([
      'GitLab to work out whether it can be merged',
      undefined,
    ]);
    expect(await words({ detailed_merge_status: 'of_next_year' })).toEqual([
      'what GitLab calls of_next_year',
      true,
    ]);
    expect(await words({ state: 'locked' })).toEqual(['GitLab, which is merging it', true]);
  });

  it('is merged with the commit that the base branch has: of the merge, of the squash, or the head', async () => {
    const { forge, request } = await gitlab({});
    const merged = { state: 'merged', merged_at: '2026-01-01T00:00:00Z', merged_by: { username: 'ana' } };
    const commit = async (values: Partial<Request>) => {
      Object.assign(request, { ...OPEN, ...merged, ...values });
      const state = await forge.state(REPOSITORY, 7, never);
      return 'commit' in state ? [state.commit, state.by] : [];
    };
    expect(await commit({ merge_commit_sha: MERGED, squash_commit_sha: SQUASHED })).toEqual([MERGED, 'ana']);
    expect(await commit({ squash_commit_sha: SQUASHED })).toEqual([SQUASHED, 'ana']);
    expect(await commit({})).toEqual([SHA, 'ana']); // a fast-forward
  });

  it('is closed by whom', async () => {
    const closed = { state: 'closed', closed_by: { username: 'ben' }, closed_at: '2026-01-01T00:00:00Z' };
    const { forge } = await gitlab(closed);
    expect(await forge.state(REPOSITORY, 7, never)).toMatchObject({ state: 'closed', by: 'ben' });
  });
});

describe('merging', () => {
  const merges = () => server.asked.filter(({ method, path }) => method === 'PUT' && path.endsWith('/merge'));

  it('is done at once where nothing is in the way', async () => {
    const { forge } = await gitlab({});
    const options = { mergeMethod: 'squash' as const, squashMessage: 'Deploy\n\nRelease-Id: rel-a' };
    const state = await forge.open({ ...SPEC, ...options, autoMerge: true }, never);
    expect(state).toMatchObject({ state: 'merged', commit: MERGED, by: 'robot' });
    expect(merges().map(({ body }) => body)).toEqual([
      {
        sha: SHA,
        should_remove_source_branch: true,
        squash: true,
        squash_commit_message: 'Deploy\n\nRelease-Id: rel-a',
      },
    ]);
  });

  it('is asked for automatically where something is, once', async () => {
    const { forge } = await gitlab({ detailed_merge_status: 'ci_still_running' });
    for (const _ of [1, 2]) {
      expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({
        state: 'open',
        waitingFor: 'its pipeline to end (auto-merge is set)',
      });
    }
    expect(merges().map(({ body }) => body)).toEqual([
      { sha: SHA, should_remove_source_branch: true, auto_merge: true, merge_when_pipeline_succeeds: true },
    ]);
  });

  it('waits while GitLab works out how it stands, and looks again where that has changed', async () => {
    let looks = 0;
    let merged = 0;
    const { forge } = await gitlab(
      {},
      {
        [`GET ${REQUEST}`]: (_, request) => {
          looks += 1;
          return { body: { ...request, detailed_merge_status: looks < 3 ? 'checking' : 'mergeable' } };
        },
        [`PUT ${REQUEST}/merge`]: (_, request) => {
          merged += 1;
          if (merged === 1)
            return { status: 409, body: { message: 'SHA does not match HEAD of source branch' } };
          request.state = 'merged';
          return { body: request };
        },
      },
    );
    expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({ state: 'merged' });
    expect(merged).toBe(2);
  });

  it('is told to be impossible where GitLab takes no such request, and where the token may not', async () => {
    const status = { detailed_merge_status: 'not_approved' };
    const refusing = await gitlab(status, {
      [`PUT ${REQUEST}/merge`]: () => ({ status: 405, body: { message: '405 Method Not Allowed' } }),
    });
    expect((await problemOf(refusing.forge.merge(REPOSITORY, 7, {}, never))).code).toBe(
      'TL_PULL_REQUEST_REFUSED',
    );
    await server.stop();
    const denying = await gitlab(
      {},
      {
        [`PUT ${REQUEST}/merge`]: () => ({ status: 401, body: { message: '401 Unauthorized' } }),
      },
    );
    expect((await problemOf(denying.forge.merge(REPOSITORY, 7, {}, never))).code).toBe('TL_FORGE_DENIED');
  });

  it('leaves conflicts to people', async () => {
    const { forge } = await gitlab({ detailed_merge_status: 'conflict', has_conflicts: true });
    expect(await forge.merge(REPOSITORY, 7, {}, never)).toMatchObject({ state: 'open', mergeable: false });
    expect(merges()).toEqual([]);
  });
});

describe('closing and listing', () => {
  it('says why once, closes, and deletes the branch, which may be gone', async () => {
    const notes: { body: unknown }[] = [];
    const { forge } = await gitlab(
      {},
      {
        [`GET ${REQUEST}/notes`]: () => ({ body: notes }),
        [`POST ${REQUEST}/notes`]: ({ body }) => {
          notes.push({ body: body.body });
          return { status: 201, body: { id: 1, ...body } };
        },
        [`PUT ${REQUEST}`]: ({ body }, request) => {
          if (body.state_event === 'close') request.state = 'closed';
          return { body: request };
        },
        [`DELETE ${PROJECT}/repository/branches/${HEAD}`]: () => ({
          status: 404,
          body: { message: '404 Branch Not Found' },
        }),
      },
    );
    for (const _ of [1, 2]) await forge.close(REPOSITORY, 7, 'Superseded', never);
    expect(notes).toEqual([{ body: 'Superseded' }]);
    expect(server.said.filter((one) => one.startsWith('DELETE'))).toHaveLength(2);
  });

  it('lists what comes from the project itself, over all pages', async () => {
    const { forge } = await gitlab(
      {},
      {
        [`GET ${PROJECT}/merge_requests`]: ({ path }, request) => {
          if (/[?&]page=2/.test(path)) return { body: [{ ...request, iid: 9 }] };
          const fork = { ...request, iid: 8, source_project_id: 4 };
          const topic = { ...request, iid: 5, source_branch: 'topic' };
          const next = `<${server.url}${PROJECT.replace('ml/teams/gitops', encodeURIComponent('ml/teams/gitops'))}/merge_requests?state=opened&page=2&per_page=100>; rel="next"`;
          return { body: [request, fork, topic], headers: { link: next } };
        },
      },
    );
    const found = await forge.list(REPOSITORY, 'throughline/production/digits/', never);
    expect(found.map(({ number }) => number)).toEqual([7, 9]);
    expect(found[0]).toMatchObject({ head: HEAD, base: 'main', body: 'body', url: OPEN.web_url });
  });
});

describe('a GitLab that does not do it', () => {
  const failing = async (answer: Answer) => {
    const { forge } = await gitlab({}, { [`GET ${REQUEST}`]: () => answer });
    return problemOf(forge.state(REPOSITORY, 7, never));
  };

  it('is asked once, and again no sooner than it says', async () => {
    const limited = await failing({ status: 429, headers: { 'retry-after': '23' }, body: 'Retry later' });
    expect(limited).toMatchObject({ code: 'TL_FORGE_UNREACHABLE', retryAfterSeconds: 23 });
    expect(server.asked).toHaveLength(1);
  });

  it('is away, refuses the token, shows nothing, or says what nobody understands', async () => {
    const codes: string[] = [];
    const { code } = await failing({ body: { unknown: true } });
    codes.push(code);
    for (const status of [500, 502, 503, 401, 403, 404]) {
      await server.stop();
      const error = await failing({ status, body: { message: `no, ${TOKEN}` } });
      codes.push(error.code);
      expect(JSON.stringify(error.problem)).not.toContain(TOKEN);
    }
    const [away, denied] = ['TL_FORGE_UNREACHABLE', 'TL_FORGE_DENIED'];
    expect(codes).toEqual([away, away, away, away, denied, denied, denied]);
  });
});
