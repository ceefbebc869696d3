// What a failed git command means for whoever ran it: wait, make the change anew, or tell a person what the server said.
import { type ErrorCode, messageOf, ThroughlineError } from '../domain/errors.js';
import { redact } from '../domain/urls.js';
import { plain, serverMessage, type Verdict, verdictOn } from './server-messages.js';

interface Meaning {
  readonly code: ErrorCode;
  readonly what: string;
  readonly hint?: string;
}

const UNREACHABLE: Meaning = { code: 'TL_REPOSITORY_UNREACHABLE', what: 'does not answer' };

const MEANINGS: Readonly<Record<Verdict, Meaning>> = {
  raced: { code: 'TL_REPOSITORY_UNREACHABLE', what: 'is being changed by somebody else' },
  later: UNREACHABLE,
  refused: { code: 'TL_REPOSITORY_DENIED', what: 'refuses access' },
  denied: { code: 'TL_REPOSITORY_DENIED', what: 'refuses access' },
  missing: { code: 'TL_REPOSITORY_NOT_FOUND', what: 'is no git repository' },
  stranger: {
    code: 'TL_REPOSITORY_DENIED',
    what: 'is not reached: the host key differs from the one that is known',
    hint: 'Somebody may stand between the worker and the server. Where the server really has a new key: correct `knownHosts` in `git.access` of the configuration, or the known_hosts of whoever runs the worker.',
  },
  full: {
    code: 'TL_REPOSITORY_UNREACHABLE',
    what: 'cannot be copied: the disk of the worker is full',
    hint: 'Make room in THROUGHLINE_DATA. Copies of repositories, below git/, can be deleted at any time.',
  },
};

/** The error behind a failed git command; undefined where the text says nothing that is known. */
export function classifyRemoteFailure(text: string): ErrorCode | undefined {
  const verdict = verdictOn(text);
  return verdict && MEANINGS[verdict].code;
}

/** The error of a command that reaches a remote. What is not known is taken for an outage. */
export function remoteFailure(repository: string, cause: unknown): ThroughlineError {
  if (cause instanceof ThroughlineError) return cause;
  const text = messageOf(cause);
  const verdict = verdictOn(text);
  const { code, what, hint } = verdict ? MEANINGS[verdict] : UNREACHABLE;
  return new ThroughlineError(code, `${redact(repository)} ${what}`, {
    found: serverMessage(text) || lastLines(text, 3),
    ...(hint ? { hint } : {}),
  });
}

/** What is to be done about a push that failed: make it anew on the new tip, or give up with the error. */
export function pushFailure(repository: string, branch: string, cause: unknown): 'raced' | ThroughlineError {
  if (cause instanceof ThroughlineError) return cause;
  const text = messageOf(cause);
  const verdict = verdictOn(text);
  if (verdict === 'raced') return 'raced';
  if (verdict !== 'refused') return remoteFailure(repository, cause);
  return new ThroughlineError('TL_PUSH_REJECTED', `${redact(repository)} refuses the push to ${branch}`, {
    found: serverMessage(text) || lastLines(text, 5),
    ...(isProtectedBranch(text) ? { hint: BY_PULL_REQUEST } : {}),
  });
}

const BY_PULL_REQUEST =
  'Nobody may push to that branch. Set `mode: pullRequest` in the plan’s deploy entry: people, or the forge, merge the change then. Or let the worker’s account push there.';

/** How a push ended: overtaken by somebody else's, refused, or as {@link remoteFailure} says. */
export type PushFailure = 'raced' | 'refused' | 'unknown';

export function classifyPushFailure(text: string): PushFailure {
  const verdict = verdictOn(text);
  return verdict === 'raced' || verdict === 'refused' ? verdict : 'unknown';
}

/** In the words of GitHub (with rulesets), GitLab, Gitea and Forgejo. */
const PROTECTED =
  /GH006|GH013|protected branch update failed|repository rule violations|not allowed to push code to protected branches|not allowed to push to protected branch|branch \S+ is protected from/i;

/** Whether a refused push would have been taken as a pull request. */
export function isProtectedBranch(text: string): boolean {
  return PROTECTED.test(text);
}

/** The end of a text, without secrets and control characters. */
export function lastLines(text: string, count: number): string {
  return plain(text).trimEnd().split('\n').slice(-count).join('\n').slice(-2000);
}
