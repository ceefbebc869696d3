// The wait for a merge, and what failures of a forge are told apart into.
import { describe, expect, it } from 'vitest';
import { awaitMerge, mergedOrThrow } from '../../../src/activities/forge/await-merge.js';
import { asProblem, ForgeAnswer, retryAfter } from '../../../src/activities/forge/failures.js';
import type { Forge, PullRequestState } from '../../../src/activities/forge/forge.js';
import { saidIn } from '../../../src/activities/forge/requests.js';
import { ThroughlineError } from '../../../src/domain/errors.js';
import { parseCommitSha } from '../../../src/domain/ids.js';

const URL_ = 'https://forge.example/ml/gitops/pulls/7';
const open = (waitingFor: string): PullRequestState => ({ state: 'open', number: 7, url: URL_, waitingFor });
const merged: PullRequestState = {
  state: 'merged',
  number: 7,
  url: URL_,
  commit: parseCommitSha('a'.repeat(40)),
  at: '2026-01-01T00:00:00Z',
};
const away = (retryAfterSeconds?: number) =>
  new ThroughlineError('TL_FORGE_UNREACHABLE', 'Gitea does not answer', {
    found: 'refused',
    retryAfterSeconds,
  });

/** A forge that answers so, one look after the other, and says the last for ever. */
function forge(...answers: (PullRequestState | Error)[]) {
  const looks: number[] = [];
  const state = async () => {
    looks.push(Date.now());
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer instanceof Error || !answer) throw answer;
    return answer;
  };
  return { forge: { state } as unknown as Forge, looks };
}

async function wait(from: Forge, milliseconds = 10_000, signal = new AbortController().signal) {
  const said: string[] = [];
  const deadline = new Date(Date.now() + milliseconds).toISOString();
  const target = { repository: 'https://forge.example/ml/gitops', number: 7, deadline };
  const options = { signal, report: (doing: string) => said.push(doing), pauses: { first: 5, most: 20 } };
  return { state: await awaitMerge(from, target, options), said };
}

describe('the wait for a merge', () => {
  it('ends when it is merged, and says what it waited for', async () => {
    const { state, said } = await wait(forge(open('a review'), open('checks'), merged).forge);
    expect(state).toEqual(merged);
    expect(said).toEqual([`waiting for a review: ${URL_}`, `waiting for checks: ${URL_}`]);
  });

  it('goes on while the forge is away', async () => {
    const { state, said } = await wait(forge(open('a review'), away(), away(), merged).forge);
    expect(state).toEqual(merged);
    expect(said[1]).toBe(
      `waiting for the forge (Gitea does not answer: refused); last seen: waiting for a review: ${URL_}`,
    );
  });

  it('looks no sooner than the forge says', async () => {
    const { forge: limited, looks } = forge(away(1), merged);
    await wait(limited);
    expect((looks[1] ?? 0) - (looks[0] ?? 0)).toBeGreaterThanOrEqual(990);
  });

  it('ends at the deadline with one more look, however long the forge says', async () => {
    const { state } = await wait(forge(open('a review')).forge, 60);
    expect(state).toEqual(open('a review'));
    const begun = Date.now();
    await expect(wait(forge(away(3600)).forge, 60)).rejects.toMatchObject({ code: 'TL_FORGE_UNREACHABLE' });
    expect(Date.now() - begun).toBeLessThan(2_000);
  });

  it('ends at once where the token may not look', async () => {
    const denied = new ThroughlineError('TL_FORGE_DENIED', 'no');
    await expect(wait(forge(denied).forge)).rejects.toBe(denied);
  });

  it('can be canceled', async () => {
    const controller = new AbortController();
    setTimeout(() => controller.abort(new Error('canceled')), 20);
    await expect(wait(forge(open('a review')).forge, 10_000, controller.signal)).rejects.toThrow();
  });

  it('looks less and less often', async () => {
    const { forge: quiet, looks } = forge(open('a review'));
    await wait(quiet, 300);
    expect(looks.length).toBeLessThan(40);
  });
});

describe('what a deployment goes on with', () => {
  it('is a merge, and nothing else', () => {
    expect(mergedOrThrow(merged)).toBe(merged);
    const codeOf = (state: PullRequestState) => {
      try {
        mergedOrThrow(state);
      } catch (error) {
        return (error as ThroughlineError).code;
      }
      return undefined;
    };
    expect(codeOf({ state: 'closed', number: 7, url: URL_, by: 'ben' })).toBe('TL_PULL_REQUEST_CLOSED');
    expect(codeOf(open('a review'))).toBe('TL_PULL_REQUEST_EXPIRED');
  });
});

describe('what a forge answers', () => {
  const code = (error: unknown) => {
    const problem = asProblem(error, 'Gitea', 'look', []);
    return problem instanceof ThroughlineError ? problem.code : undefined;
  };
  const answer = (status: number, headers: Record<string, string> = {}) =>
    new ForgeAnswer(status, 'said', new Headers(headers));

  it('is told apart', () => {
    const away = 'TL_FORGE_UNREACHABLE';
    for (const status of [408, 429, 500, 502, 503, 504])
      expect([status, code(answer(status))]).toEqual([status, away]);
    for (const status of [401, 403, 404]) expect(code(answer(status))).toBe('TL_FORGE_DENIED');
    for (const status of [400, 405, 409, 422, 423])
      expect(code(answer(status))).toBe('TL_PULL_REQUEST_REFUSED');
    expect(code(answer(403, { 'retry-after': '1' }))).toBe(away);
    expect(code(new TypeError('fetch failed', { cause: new Error('connect ECONNREFUSED') }))).toBe(away);
    expect(code(new SyntaxError('Unexpected token <'))).toBe(away);
  });

  it('is no mistake of our own: that is not waited for', () => {
    const mistake = new TypeError('x is not a function');
    expect(asProblem(mistake, 'Gitea', 'look', [])).toBe(mistake);
  });

  it('says when it may be asked again: seconds, a date, or the reset of a limit', () => {
    const now = Date.parse('2026-01-01T00:00:00Z');
    const seconds = (headers: Record<string, string>) => retryAfter(new Headers(headers), now);
    expect(seconds({ 'retry-after': '12' })).toBe(12);
    expect(seconds({ 'retry-after': 'Thu, 01 Jan 2026 00:00:30 GMT' })).toBe(30);
    expect(seconds({ 'retry-after': 'Wed, 31 Dec 2025 00:00:00 GMT' })).toBe(0);
    expect(seconds({ 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(now / 1000 + 60) })).toBe(60);
    expect(seconds({ 'ratelimit-remaining': '0', 'ratelimit-reset': String(now / 1000 + 61) })).toBe(61);
    expect(
      seconds({ 'x-ratelimit-remaining': '7', 'x-ratelimit-reset': String(now / 1000 + 60) }),
    ).toBeUndefined();
    expect(seconds({ 'retry-after': 'soon' })).toBeUndefined();
    expect(seconds({ 'retry-after': '99999999' })).toBe(86_400);
    expect(seconds({})).toBeUndefined();
  });

  it('is said without secrets, and without a proxy’s page', () => {
    const said = '{"message":"token s3cr3t-token of https://a:b@host/x?token=1"}';
    const problem = asProblem(new ForgeAnswer(422, saidIn(said), new Headers()), 'Gitea', 'look', [
      's3cr3t-token',
    ]);
    expect((problem as ThroughlineError).problem.found).toBe(
      'status 422: token *** of https://***@host/x?***',
    );
    expect(saidIn('<html><h1>502 Bad Gateway</h1>\n<p>nginx</p></html>')).toBe('502 Bad Gateway nginx');
  });
});
