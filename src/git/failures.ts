// What git printed, told apart: what a new try may cure, and what it cannot. Pure, so that it is tested without git.
import { type ErrorCode, ThroughlineError } from '../domain/errors.js';
import { redact } from '../domain/urls.js';

const RULES: readonly [RegExp, ErrorCode][] = [
  [
    /authentication failed|could not read (?:username|password)|permission denied|access denied|error: 40[13]\b|host key verification failed|dubious ownership|terminal prompts disabled/i,
    'TL_REPOSITORY_DENIED',
  ],
  [
    /repository '?.*'? (?:not found|does not exist)|does not appear to be a git repository|not a git repository|error: 404\b|repository not found|no such file or directory/i,
    'TL_REPOSITORY_NOT_FOUND',
  ],
  [
    /could not resolve host|connection (?:refused|reset|timed out|closed)|couldn't connect|failed to connect|operation timed out|timed out|timeout|unable to access|network is unreachable|no route to host|early eof|hung up|unexpected disconnect|error: 5\d\d\b|error: 429\b|operation too slow|empty reply/i,
    'TL_REPOSITORY_UNREACHABLE',
  ],
];

/** The error behind a failed git command; undefined where the text says nothing that is known. */
export function classifyRemoteFailure(text: string): ErrorCode | undefined {
  return RULES.find(([pattern]) => pattern.test(text))?.[1];
}

export function remoteFailure(repository: string, cause: unknown): ThroughlineError {
  const text = redact(cause instanceof Error ? cause.message : String(cause)).trim();
  const code = classifyRemoteFailure(text) ?? 'TL_REPOSITORY_UNREACHABLE';
  const what = {
    TL_REPOSITORY_DENIED: 'refuses access',
    TL_REPOSITORY_NOT_FOUND: 'is no git repository',
    TL_REPOSITORY_UNREACHABLE: 'does not answer',
  }[code as 'TL_REPOSITORY_DENIED'];
  return new ThroughlineError(code, `${redact(repository)} ${what}`, { found: lastLines(text, 3) });
}

/** How a push ended: done, overtaken by somebody else's, or refused. */
export type PushFailure = 'raced' | 'refused' | 'unknown';

const RACED =
  /\((?:fetch first|non-fast-forward|stale info|failed to update ref|cannot lock ref[^)]*|incorrect old value provided|reference already exists|failed to lock)\)|cannot lock ref|incorrect old value|is at [0-9a-f]{40} but expected|unable to create .*\.lock/i;
const REFUSED =
  /remote rejected|hook declined|protected branch|denyCurrentBranch|quota|shallow update not allowed|GH0\d\d|not allowed to push/i;

export function classifyPushFailure(text: string): PushFailure {
  if (RACED.test(text)) return 'raced';
  return REFUSED.test(text) ? 'refused' : 'unknown';
}

/** In the words of GitHub (with rulesets), GitLab, Gitea and Forgejo. */
const PROTECTED =
  /GH006|GH013|protected branch update failed|repository rule violations|not allowed to push code to protected branches|not allowed to push to protected branch|branch \S+ is protected from/i;

/** Whether a refused push would have been taken as a pull request. */
export function isProtectedBranch(text: string): boolean {
  return PROTECTED.test(text);
}

export function lastLines(text: string, count: number): string {
  return text.trimEnd().split('\n').slice(-count).join('\n').slice(-2000);
}
