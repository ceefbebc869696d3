// What a forge answered other than success, told apart: what a new try may cure, what the token may not, what the forge's
// rules refuse. Pure, so that it is tested without a forge.
import { messageOf, type Problem, ThroughlineError } from '../../domain/errors.js';
import { type CommitSha, parseCommitSha } from '../../domain/ids.js';
import { redact } from '../../domain/urls.js';

/** An answer of a forge that is no success. Adapters look at it; whoever calls them gets a problem. */
export class ForgeAnswer extends Error {
  override readonly name = 'ForgeAnswer';

  constructor(
    readonly status: number,
    /** In the forge's own words. */
    readonly said: string,
    readonly headers: Headers,
  ) {
    super(`status ${status}: ${said}`);
  }
}

/** The answer behind an error: clients keep what their fetch threw as the cause of their own. */
export function answerIn(error: unknown): ForgeAnswer | undefined {
  for (let one = error; one instanceof Error; one = one.cause) if (one instanceof ForgeAnswer) return one;
  return undefined;
}

/** The answer where it has one of those statuses; undefined where the body succeeds. Throws all others. */
export async function refusalOf(
  statuses: readonly number[],
  body: () => Promise<unknown>,
): Promise<ForgeAnswer | undefined> {
  try {
    await body();
    return undefined;
  } catch (error) {
    const answer = answerIn(error);
    if (answer && statuses.includes(answer.status)) return answer;
    throw error;
  }
}

/** What the body gives; undefined where the answer has one of those statuses. Throws all others. */
export async function unless<T>(statuses: readonly number[], body: () => Promise<T>): Promise<T | undefined> {
  let given: T | undefined;
  await refusalOf(statuses, async () => {
    given = await body();
  });
  return given;
}

export function refused(
  message: string,
  extra: Pick<Problem, 'expected' | 'found' | 'hint'> = {},
): ThroughlineError {
  return new ThroughlineError('TL_PULL_REQUEST_REFUSED', message, extra);
}

/** A forge that has not made up its mind after many looks. */
export function undecided(forge: string, what: string): ThroughlineError {
  return new ThroughlineError('TL_FORGE_UNREACHABLE', `${forge} has not worked out how ${what} stands`, {
    expected: 'it to be merged, or to say what is in the way',
  });
}

/** The commit of a merge; a forge may say it a moment later than that there was one. */
export function mergeCommit(forge: string, sha: string | null | undefined): CommitSha {
  if (sha && /^[0-9a-f]{40}$/.test(sha)) return parseCommitSha(sha);
  throw new ThroughlineError(
    'TL_FORGE_UNREACHABLE',
    `${forge} does not say yet by which commit it has merged`,
    {
      expected: 'the full id of a commit',
      found: sha ?? 'none',
    },
  );
}

/** The problem behind whatever was thrown. `forge` is its name for people, `doing` what was tried. */
export function asProblem(error: unknown, forge: string, doing: string, secrets: readonly string[]): unknown {
  if (error instanceof ThroughlineError) return error;
  const without = (text: string) => withoutSecrets(text, secrets);
  const answer = answerIn(error);
  if (!answer && !isOfTheNetwork(error)) return error; // a mistake of our own is not waited for
  if (!answer) {
    return new ThroughlineError('TL_FORGE_UNREACHABLE', `${forge} does not answer`, {
      expected: `to ${doing}`,
      found: without(causesOf(error)),
    });
  }
  const { status, headers, said } = answer;
  const found = without(`status ${status}${said ? `: ${said}` : ''}`);
  if (isLimited(answer)) {
    return new ThroughlineError('TL_FORGE_UNREACHABLE', `${forge} takes no more requests for now`, {
      expected: `to ${doing}`,
      found,
      retryAfterSeconds: retryAfter(headers),
    });
  }
  if (status >= 500 || status === 408) {
    return new ThroughlineError('TL_FORGE_UNREACHABLE', `${forge} does not answer as it should`, {
      expected: `to ${doing}`,
      found,
      retryAfterSeconds: retryAfter(headers),
    });
  }
  if (status === 401 || status === 403 || status === 404) {
    const why = {
      401: 'does not take the token',
      403: 'does not allow the token',
      404: 'has nothing there, or does not show it to the token',
    }[status];
    return new ThroughlineError('TL_FORGE_DENIED', `${forge} ${why}`, { expected: `to ${doing}`, found });
  }
  if (status >= 300 && status < 400) {
    return refused(`${forge} has that elsewhere`, {
      expected: `to ${doing}`,
      found: without(`status ${status} to ${headers.get('location') ?? 'nowhere'}`),
      hint: 'Correct the repository’s URL in the plan where it was renamed, or `apiUrl` of the forge in the configuration.',
    });
  }
  return refused(`${forge} refuses to ${doing}`, { found });
}

/** No answer, one that broke off, or one that is none of a forge's: a proxy says such things, for a while. */
function isOfTheNetwork(error: unknown): boolean {
  for (let one = error; one instanceof Error; one = one.cause) {
    if (['TimeoutError', 'AbortError', 'SyntaxError', 'ZodError', 'HttpError'].includes(one.name))
      return true;
    if (one.message === 'fetch failed' || one.message === 'terminated' || 'code' in one) return true;
  }
  return false;
}

/** GitHub says it with 403, too: "Rate limits for the REST API", secondary ones included. */
function isLimited({ status, said, headers }: ForgeAnswer): boolean {
  if (status === 429) return true;
  if (status !== 403) return false;
  return (
    headers.get('x-ratelimit-remaining') === '0' || headers.has('retry-after') || /rate limit/i.test(said)
  );
}

/** A day: what says more is not believed. */
const MOST_SECONDS = 86_400;

/** Seconds: RFC 9110, section 10.2.3, or the reset of GitHub's, GitLab's and Gitea's limits. */
export function retryAfter(headers: Headers, now = Date.now()): number | undefined {
  const after = headers.get('retry-after');
  if (after !== null && /^\d+$/.test(after)) return Math.min(Number(after), MOST_SECONDS);
  const date = after === null ? Number.NaN : Date.parse(after);
  const reset = headers.get('x-ratelimit-reset') ?? headers.get('ratelimit-reset');
  const spent = (headers.get('x-ratelimit-remaining') ?? headers.get('ratelimit-remaining')) === '0';
  const at = Number.isNaN(date) ? (spent && reset !== null ? Number(reset) * 1000 : Number.NaN) : date;
  if (Number.isNaN(at)) return undefined;
  return Math.min(Math.max(0, Math.ceil((at - now) / 1000)), MOST_SECONDS);
}

/** What fetch says is in its causes. */
function causesOf(error: unknown): string {
  const causes: string[] = [];
  for (let one = error; one instanceof Error && causes.length < 4; one = one.cause) {
    const { code } = one as { code?: string };
    causes.push(one.name === 'ZodError' ? 'an answer of an unknown form' : one.message || code || one.name);
  }
  return [...new Set(causes)].join(': ') || messageOf(error);
}

/** I9: nothing of what a forge says has a token in it, not even one that it repeats. At most a few lines. */
export function withoutSecrets(text: string, secrets: readonly string[]): string {
  const hidden = secrets
    .filter((secret) => secret.length >= 4)
    .reduce((all, secret) => all.replaceAll(secret, '***'), text);
  return redact(hidden)
    .replace(/[\0-\x08\x0b-\x1f\x7f]+/g, ' ')
    .slice(0, 500);
}
