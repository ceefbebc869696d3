// What git and git servers say when something fails, told apart by whose trouble it is. Each server has its own words, and
// many send them with the same status: GitLab's maintenance, a quota and a missing permission are all a 403. So what a
// server says comes first, and what git makes of it second. Pure; the messages are in test/unit/git-failures.test.ts.
import { withoutSecrets } from './secrets.js';

/** What is to be done about a failure. */
export type Verdict =
  /** Somebody else was faster: fetch, make the change anew, push again. */
  | 'raced'
  /** The server's or the network's trouble: the same may get through later. */
  | 'later'
  /** A rule of the server: the same is refused again. */
  | 'refused'
  /** The server does not know who asks, or they may not do that. */
  | 'denied'
  /** There is no such repository, for whoever asks. */
  | 'missing'
  /** The server's key is not the one that it is known by. */
  | 'stranger'
  /** This machine's own disk is full. */
  | 'full';

type Rule = readonly [Verdict, RegExp];

/** Servers' own words, which they send beside a hook's refusal, a 403 or the end of a connection. The first one counts. */
const SERVERS: readonly Rule[] = [
  // Azure DevOps; Gerrit and whatever else is made of JGit; receive-pack, as its versions have put it.
  ['raced', /TF401028|already been updated by another client|\(lock(?: |_)failure\)/i],
  ['refused', /^remote: .*unable to create .*: Permission denied/im],
  ['later', /^remote: .*Read-only file system/im],
  ['refused', /insufficient permission for adding an object|unable to create temporary object directory/i],
  ['refused', /Disk quota exceeded/i],
  ['later', /^(?:remote: |error: remote ).*No space left on device/im],
  ['full', /No space left on device/i],
  [
    'raced',
    /\((?:fetch first|non-fast-forward|stale info|failed to update ref|cannot lock ref[^)]*|incorrect old value provided|reference already exists|failed to lock)\)/i,
  ],
  [
    'raced',
    /incorrect old value|is at [0-9a-f]{40,64} but expected|unable to create .*\.lock': File exists/i,
  ],
  // GitLab: its own services, its load, its maintenance.
  ['later', /internal API (?:is )?unreachable|API is not accessible|Failed to authorize your Git request/i],
  ['later', /read-only\) maintenance mode|temporarily read-only|read-only GitLab instance/i],
  ['later', /unable to handle this request due to load|connections to all backends|ResourceExhausted/i],
  ['later', /Push operation timed out|maximum time in concurrency queue/i],
  // GitHub, Gitea, Bitbucket, Azure DevOps: something inside, or too much at once.
  ['later', /\(Internal Server Error\)|^remote: (?:\w+: )?Internal Server (?:Connection )?Error/im],
  ['later', /secondary rate limit|rate limit exceeded|too many requests|under heavy load|TF400733/i],
  ['later', /execution exceeded \d+s timeout/i],
  // What a repository may not grow to, hold or be.
  [
    'refused',
    /exceeded its size limit|exceed the size limit|read.only mode \(over|TF402462|exceeds the .*push limit/i,
  ],
  ['refused', /repository was archived|archived so it is read-only|archived project/i],
  ['refused', /\bGH0\d\d: |\bTF402455|\bVS403\d\d\d|protected branch|through pull requests?\b/i],
  // Who may not.
  ['denied', /TF401027|TF400813|(?:SAML SSO|SAML enforcement)|IP allow list/i],
  [
    'denied',
    /marked as read.only|deploy key does not have write access|Deploy keys are not allowed to push/i,
  ],
  [
    'denied',
    /Permission to \S+ denied|Write access to repository not granted|User permission denied for writing/i,
  ],
  ['denied', /account (?:has been|is) (?:blocked|suspended|deactivated|disabled)|password (?:has )?expired/i],
  [
    'denied',
    /HTTP Basic: Access denied|Invalid (?:username or (?:password|token)|credentials)|removed support for password/i,
  ],
  ['denied', /not allowed to (?:upload|download) code|not allowed to push code to this project/i],
  ['denied', /not permitted to access this resource|refusing to allow an? .* to create or update workflow/i],
  ['missing', /TF401019|could not be found or you don.t have permission|ERROR: Repository not found/i],
];

/** That the server has taken a push in, and answered: git-push(1), its status of a ref. */
const ANSWERED = /\[(?:remote )?rejected\]|hook declined/i;

/** What git, ssh and curl say. */
const TRANSPORT: readonly Rule[] = [
  ['stranger', /host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED|host key is known for/i],
  [
    'denied',
    /authentication failed|could not read (?:username|password)|permission denied|access denied|error: 40[13]\b|HTTP code 407|dubious ownership|terminal prompts disabled|too many authentication failures/i,
  ],
  [
    'missing',
    /repository '?.*'? (?:not found|does not exist)|does not appear to be a git repository|not a git repository|error: 404\b|repository not found|no such file or directory/i,
  ],
  [
    'later',
    /could not resolve host|connection (?:refused|reset|timed out|closed)|couldn't connect|failed to connect|timed out|timeout|unable to access|network is unreachable|no route to host|early eof|hung up|unexpected disconnect|broken pipe|error: 5\d\d\b|error: 429\b|operation too slow|empty reply|SSL|TLS|kex_exchange_identification|unpacker error|index-pack (?:abnormal exit|failed)|bad pack|unable to migrate objects/i,
  ],
];

const first = (rules: readonly Rule[], text: string) => rules.find(([, pattern]) => pattern.test(text))?.[0];

/** Of a failed command; undefined where the text says nothing that is known. */
export function verdictOn(text: string): Verdict | undefined {
  const said = first(SERVERS, text);
  if (said) return said;
  if (!ANSWERED.test(text)) return first(TRANSPORT, text);
  // A hook writes what it likes: of a push that was answered only the answer itself counts.
  return /unpacker error|unable to migrate objects/i.test(text) ? 'later' : 'refused';
}

/** Progress of both sides, advice, frames, and what says no more than that it failed. */
const NOISE =
  /^(?:(?:Enumerating|Counting|Compressing|Writing|Receiving|Resolving|Unpacking|Updating|Checking|Processing)\b.*(?:objects|deltas|files|references|connectivity|changes|\d%)|Delta compression using|Total \d+ \(delta|Pushing to |To \S+$|Done$|hint: |POST git-|error: failed to push some refs|Please make sure you have the correct access rights|and the repository exists|fatal: Could not read from remote repository|Warning: Permanently added|[-=@*#~_ \t]*$)/i;

const MOST_LINES = 12;
const MOST_CHARACTERS = 2000;

/** The message of a server, as a person reads it: without prefixes, progress, frames, control characters and secrets (I9). */
export function serverMessage(text: string): string {
  const lines = plain(text)
    .split('\n')
    .map((line) => line.replace(/^(?:remote: ?)+/, '').trim())
    .map((line) => /^!?\s*\S.*\[(?:remote )?rejected\]\s+.*?\((.+)\)$/.exec(line)?.[1] ?? line)
    .filter((line) => !NOISE.test(line));
  return [...new Set(lines)].slice(0, MOST_LINES).join('\n').slice(0, MOST_CHARACTERS);
}

/** A text without secrets and without what would move a terminal's cursor: of a line that was written over, the last. */
export function plain(text: string): string {
  return withoutSecrets(text)
    .replace(/\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)/g, '')
    .replace(/\r+\n/g, '\n')
    .replace(/^.*\r(?=[^\n])/gm, '')
    .replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, '');
}
