// What git servers say when they refuse, are overtaken or are in trouble, as they really say it.
import { describe, expect, it } from 'vitest';
import { ThroughlineError } from '../../src/domain/errors.js';
import { classifyPushFailure, lastLines, pushFailure, remoteFailure } from '../../src/git/failures.js';
import { serverMessage, type Verdict, verdictOn } from '../../src/git/server-messages.js';

const A = '66941e6196d60ec8a5f14cc3cd5764037bad4e82';
const B = 'cdec69331ca3b4565378c23c6f917d5f89426a3a';

/** The end of a push that the server answered. */
const answered = (remote: string, reason: string, url = 'https://git.example/ml/gitops.git') =>
  `${remote
    .split('\n')
    .filter(Boolean)
    .map((line) => `remote: ${line}        `)
    .join(
      '\n',
    )}\nTo ${url}\n!\t${A}:refs/heads/main\t[remote rejected] (${reason})\nDone\nerror: failed to push some refs to '${url}'\n`;

/** A push over HTTP that never got as far. */
const http = (status: number, remote = '', url = 'https://git.example/ml/gitops.git') =>
  `${remote ? `remote: ${remote}\n` : ''}fatal: unable to access '${url}/': The requested URL returned error: ${status}\n`;

/** A connection over SSH that a server ended. */
const ssh = (text: string) =>
  `${text}\nfatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n`;

const gitlabSsh = (text: string) =>
  ssh(
    `remote: \nremote: ========================================================================\nremote: \nremote: ERROR: ${text}\nremote: \nremote: ========================================================================\nremote: `,
  );

const MESSAGES: readonly (readonly [string, Verdict, string])[] = [
  // git itself
  ['git: overtaken, known before', 'raced', ` ! [rejected]        ${A} -> main (fetch first)`],
  ['git: overtaken, not of one line', 'raced', `!\t${A}:refs/heads/main\t[rejected] (non-fast-forward)`],
  ['git: overtaken, with a lease', 'raced', `!\t${A}:refs/heads/main\t[rejected] (stale info)`],
  [
    'receive-pack: overtaken',
    'raced',
    answered(
      `error: cannot lock ref 'refs/heads/main': is at ${A} but expected ${B}`,
      'failed to update ref',
    ),
  ],
  ['receive-pack: overtaken, by git 2.51', 'raced', answered('', 'incorrect old value provided')],
  ['receive-pack: overtaken, in one transaction', 'raced', answered('', 'reference already exists')],
  [
    'receive-pack: another push holds the lock',
    'raced',
    answered(
      "error: cannot lock ref 'refs/heads/main': Unable to create '/srv/git/gitops.git/./refs/heads/main.lock': File exists.",
      'failed to update ref',
    ),
  ],
  ['receive-pack: a hook', 'refused', answered('Only on weekdays.', 'pre-receive hook declined')],
  ['receive-pack: an update hook', 'refused', answered('', 'hook declined')],
  [
    'receive-pack: a hook that speaks of outages',
    'refused',
    answered('Connection timed out is no replica count; see policy 503', 'pre-receive hook declined'),
  ],
  [
    'receive-pack: a work tree',
    'refused',
    answered(
      'error: refusing to update checked out branch: refs/heads/main',
      'branch is currently checked out',
    ),
  ],
  ['receive-pack: no deletion', 'refused', answered('', 'deletion prohibited')],
  ['receive-pack: hidden refs', 'refused', answered('', 'deny updating a hidden ref')],
  ['receive-pack: shallow', 'refused', answered('', 'shallow update not allowed')],
  [
    'receive-pack: bad object',
    'refused',
    answered(
      'error: object 1f2e3d: zeroPaddedFilemode: contains zero-padded file modes',
      'fsck error in packed object',
    ),
  ],
  [
    'receive-pack: files of another user',
    'refused',
    answered(
      'error: insufficient permission for adding an object to repository database objects\nfatal: failed to write object',
      'unpacker error',
    ),
  ],
  [
    'receive-pack: a directory of another user',
    'refused',
    answered('', 'unable to create temporary object directory'),
  ],
  [
    'receive-pack: refs of another user',
    'refused',
    answered(
      "error: cannot lock ref 'refs/heads/main': Unable to create '/srv/git/gitops.git/./refs/heads/main.lock': Permission denied",
      'failed to update ref',
    ),
  ],
  [
    'receive-pack: disk full',
    'later',
    answered('fatal: unable to write loose object file: No space left on device', 'unpacker error'),
  ],
  [
    'receive-pack: disk full, in quarantine',
    'later',
    answered(
      'error: unable to write file ./objects/incoming-x: No space left on device',
      'unable to migrate objects to permanent storage',
    ),
  ],
  [
    'receive-pack: quota of the file system',
    'refused',
    answered('fatal: write error: Disk quota exceeded', 'unpacker error'),
  ],
  [
    'receive-pack: read-only disk',
    'later',
    answered(
      "error: cannot lock ref 'refs/heads/main': Unable to create '/srv/git/x.lock': Read-only file system",
      'failed to update ref',
    ),
  ],
  ['receive-pack: killed', 'later', answered('error: index-pack died of signal 9', 'unpacker error')],
  ['receive-pack: a pack cut off', 'later', answered('fatal: early EOF', 'unpacker error')],
  [
    'this machine: disk full',
    'full',
    'error: unable to write file ./objects/pack/tmp_pack_x\nfatal: unable to write loose object file: No space left on device',
  ],
  // GitHub
  [
    'GitHub: overtaken',
    'raced',
    answered(
      '',
      `cannot lock ref 'refs/heads/main': is at ${A} but expected ${B}`,
      'https://github.com/acme/gitops.git',
    ),
  ],
  [
    'GitHub: protected branch',
    'refused',
    answered(
      'error: GH006: Protected branch update failed for refs/heads/main.\nerror: At least 1 approving review is required by reviewers with write access.',
      'protected branch hook declined',
    ),
  ],
  [
    'GitHub: required checks',
    'refused',
    answered(
      'error: GH006: Protected branch update failed for refs/heads/main.\n\n- 3 of 3 required status checks are expected.',
      'protected branch hook declined',
    ),
  ],
  [
    'GitHub: rulesets',
    'refused',
    answered(
      'error: GH013: Repository rule violations found for refs/heads/main.\nReview all repository rules at https://github.com/acme/gitops/rules?ref=refs%2Fheads%2Fmain\n\n- Changes must be made through a pull request.',
      'push declined due to repository rule violations',
    ),
  ],
  [
    'GitHub: signatures required',
    'refused',
    answered(
      'error: GH013: Repository rule violations found for refs/heads/main.\n- Commits must have verified signatures.',
      'push declined due to repository rule violations',
    ),
  ],
  [
    'GitHub: push protection',
    'refused',
    answered(
      'error: GH013: Repository rule violations found for refs/heads/main.\n\n- GITHUB PUSH PROTECTION\n  —————————————————————————————————————————\n    Resolve the following violations before pushing again\n\n    - Push cannot contain secrets',
      'push declined due to repository rule violations',
    ),
  ],
  [
    'GitHub: a file too large',
    'refused',
    answered(
      "error: GH001: Large files detected. You may want to try Git Large File Storage - https://git-lfs.github.com.\nerror: File model.bin is 120.57 MB; this exceeds GitHub's file size limit of 100.00 MB",
      'pre-receive hook declined',
    ),
  ],
  [
    'GitHub: private address',
    'refused',
    answered(
      'error: GH007: Your push would publish a private email address.',
      'push declined due to email privacy restrictions',
    ),
  ],
  [
    'GitHub: a workflow without its permission',
    'denied',
    answered(
      '',
      'refusing to allow a GitHub App to create or update workflow `.github/workflows/ci.yml` without `workflows` permission',
    ),
  ],
  [
    'GitHub: inside',
    'later',
    answered('Internal Server Error\nRequest ID FD10:233089:1BE2B5:2818CC:6AC67996', 'Internal Server Error'),
  ],
  ['GitHub: inside, over HTTP', 'later', http(500, 'Internal Server Error')],
  ['GitHub: archived, over HTTP', 'refused', http(403, 'This repository was archived so it is read-only.')],
  ['GitHub: archived, over SSH', 'refused', ssh('ERROR: This repository was archived so it is read-only.')],
  [
    'GitHub: suspended',
    'denied',
    http(403, 'Your account is suspended. Please visit https://support.github.com for more information.'),
  ],
  [
    'GitHub: single sign-on',
    'denied',
    http(
      403,
      "The `acme' organization has enabled or enforced SAML SSO.\nremote: To access this repository, you must use the HTTPS remote with a personal access token",
    ),
  ],
  [
    'GitHub: without write access',
    'denied',
    http(403, 'Permission to acme/gitops.git denied to release-bot.'),
  ],
  [
    'GitHub: a deploy key without write access',
    'denied',
    ssh('ERROR: The key you are authenticating with has been marked as read only.'),
  ],
  [
    'GitHub: a deploy key of another repository',
    'denied',
    ssh('ERROR: Permission to acme/gitops.git denied to deploy key'),
  ],
  ['GitHub: not there, or not seen', 'missing', ssh('ERROR: Repository not found.')],
  [
    'GitHub: not there, over HTTPS',
    'missing',
    "remote: Repository not found.\nfatal: repository 'https://github.com/acme/none.git/' not found",
  ],
  [
    'GitHub: a password',
    'denied',
    "remote: Support for password authentication was removed on August 13, 2021.\nfatal: Authentication failed for 'https://github.com/acme/gitops.git/'",
  ],
  [
    'GitHub: a bad token',
    'denied',
    "remote: Invalid username or token. Password authentication is not supported for Git operations.\nfatal: Authentication failed for 'https://github.com/acme/gitops.git/'",
  ],
  ['GitHub: too many requests', 'later', http(429)],
  [
    'GitHub: a rate limit with a 403',
    'later',
    http(403, 'You have exceeded a secondary rate limit. Please wait a few minutes before you try again.'),
  ],
  [
    'GitHub Enterprise: a slow hook',
    'later',
    answered('policy.sh: execution exceeded 5s timeout', 'pre-receive hook declined'),
  ],
  // GitLab
  [
    'GitLab: overtaken',
    'raced',
    answered('', 'incorrect old value provided', 'https://gitlab.com/ml/gitops.git'),
  ],
  [
    'GitLab: protected branch',
    'refused',
    answered(
      'GitLab: You are not allowed to push code to protected branches on this project.',
      'pre-receive hook declined',
    ),
  ],
  [
    'GitLab: no force',
    'refused',
    answered(
      'GitLab: You are not allowed to force push code to a protected branch on this project.',
      'pre-receive hook declined',
    ),
  ],
  [
    'GitLab: a push rule on authors',
    'refused',
    answered("GitLab: Author 'throughline@localhost' is not a member of team", 'pre-receive hook declined'),
  ],
  [
    'GitLab: a push rule on messages',
    'refused',
    answered("GitLab: Commit message does not follow the pattern 'OPS-\\d+'", 'pre-receive hook declined'),
  ],
  [
    'GitLab: a push rule on signatures',
    'refused',
    answered('GitLab: Commit must be signed with a GPG key', 'pre-receive hook declined'),
  ],
  [
    'GitLab: secrets',
    'refused',
    answered(
      'GitLab: \n--------------------------------------------------\nPUSH BLOCKED: Secrets detected in code changes',
      'pre-receive hook declined',
    ),
  ],
  [
    'GitLab: a quota',
    'refused',
    http(
      403,
      'Your push has been rejected, because this repository has exceeded its size limit of 100 MB by 160 MB. Please contact your GitLab administrator for more information.',
    ),
  ],
  [
    'GitLab: internal API, in a hook',
    'later',
    answered(
      'GitLab: Failed to authorize your Git request: internal API unreachable',
      'pre-receive hook declined',
    ),
  ],
  ['GitLab: internal API, over SSH', 'later', gitlabSsh('Internal API unreachable')],
  [
    'GitLab: load',
    'later',
    'fatal: remote error: GitLab is currently unable to handle this request due to load (ID a2b5c730282383b9-ORD).',
  ],
  [
    'GitLab: a slow check',
    'later',
    answered('GitLab: Push operation timed out', 'pre-receive hook declined'),
  ],
  [
    'GitLab: maintenance',
    'later',
    http(
      403,
      'Git push is not allowed because this GitLab instance is currently in (read-only) maintenance mode.',
    ),
  ],
  [
    'GitLab: maintenance, over SSH',
    'later',
    gitlabSsh(
      'Git push is not allowed because this GitLab instance is currently in (read-only) maintenance mode.',
    ),
  ],
  [
    'GitLab: a repository that moves',
    'later',
    http(403, 'The repository is temporarily read-only. Please try again later.'),
  ],
  ['GitLab: a secondary site', 'later', gitlabSsh("You can't push code to a read-only GitLab instance.")],
  ['GitLab: blocked', 'denied', http(403, 'Your account has been blocked.')],
  ['GitLab: without write access', 'denied', http(403, 'You are not allowed to push code to this project.')],
  [
    'GitLab: a deploy key without write access',
    'denied',
    gitlabSsh('This deploy key does not have write access to this project.'),
  ],
  [
    'GitLab: a bad token',
    'denied',
    "remote: HTTP Basic: Access denied. The provided password or token is incorrect or your account has 2FA enabled\nfatal: Authentication failed for 'https://gitlab.com/ml/gitops.git/'",
  ],
  [
    'GitLab: not there, or not seen',
    'missing',
    gitlabSsh("The project you were looking for could not be found or you don't have permission to view it."),
  ],
  // Gitea and Forgejo
  [
    'Gitea: protected branch',
    'refused',
    answered('\nGitea: Not allowed to push to protected branch main', 'pre-receive hook declined'),
  ],
  [
    'Forgejo: protected files',
    'refused',
    answered(
      'Forgejo: branch main is protected from changing file k8s/deployment.yaml',
      'pre-receive hook declined',
    ),
  ],
  [
    'Gitea: inside',
    'later',
    answered('Gitea: Internal Server Connection Error', 'pre-receive hook declined'),
  ],
  ['Gitea: without write access', 'denied', http(403, 'User permission denied for writing.')],
  [
    'Gitea: a deploy key',
    'denied',
    ssh(
      'Gitea: User: 1:bot with Key: 3:deploy is not authorized to write to ml/gitops.\nbot@git.example: Permission denied (publickey).',
    ),
  ],
  // Bitbucket
  [
    'Bitbucket Data Center: protected branch',
    'refused',
    answered(
      '----------------------------------------------------\nBranch refs/heads/main can only be modified through pull requests.\nCheck your branch permissions configuration with the project administrator.\n----------------------------------------------------',
      'pre-receive hook declined',
    ),
  ],
  [
    'Bitbucket Data Center: without write access',
    'denied',
    http(403, 'You are not permitted to access this resource.'),
  ],
  [
    'Bitbucket Data Center: load',
    'later',
    'fatal: remote error: Bitbucket is currently under heavy load and is not able to process your request. Please wait a moment and try again',
  ],
  [
    'Bitbucket Cloud: protected branch',
    'refused',
    answered('permission denied to update branch main.', 'pre-receive hook declined'),
  ],
  [
    'Bitbucket Cloud: too large',
    'refused',
    ssh('remote: repository is in read only mode (over 2 GB size limit).'),
  ],
  ['Bitbucket Cloud: without write access', 'denied', http(403, 'Write access to repository not granted.')],
  [
    'Bitbucket Cloud: not there, or not seen',
    'missing',
    "remote: You may not have access to this repository or it no longer exists in this workspace. If you think this repository exists and you have access, make sure you are authenticated.\nfatal: repository 'https://bitbucket.org/ml/none/' not found",
  ],
  // Azure DevOps
  [
    'Azure DevOps: overtaken',
    'raced',
    answered(
      '',
      "TF401028: The reference 'refs/heads/main' has already been updated by another client, so you cannot update it. Please try again.",
      'https://dev.azure.com/acme/ml/_git/gitops',
    ),
  ],
  [
    'Azure DevOps: a branch policy',
    'refused',
    answered(
      '',
      'TF402455: Pushes to this branch are not permitted; you must use a pull request to update this branch.',
    ),
  ],
  [
    'Azure DevOps: secrets',
    'refused',
    answered(
      'error VS403654: The push was rejected because it contains one or more secrets.',
      'VS403654: The push was rejected because it contains one or more secrets.',
    ),
  ],
  [
    'Azure DevOps: a push too large',
    'refused',
    answered(
      '',
      'TF402462: This push was rejected because its size is greater than the 5120 MB limit for pushes in this repository.',
    ),
  ],
  [
    'Azure DevOps: without write access',
    'denied',
    http(
      403,
      "TF401027: You need the Git 'GenericContribute' permission to perform this action. Details: identity 'Build\\af61', scope 'repository'.",
    ),
  ],
  [
    'Azure DevOps: not there, or not seen',
    'missing',
    "remote: TF401019: The Git repository with name or identifier gitops does not exist or you do not have permissions for the operation you are attempting.\nfatal: repository 'https://dev.azure.com/acme/ml/_git/gitops/' not found",
  ],
  [
    'Azure DevOps: throttled',
    'later',
    http(
      503,
      'TF400733: The request has been canceled: Request was blocked due to exceeding usage of resource',
    ),
  ],
  // AWS CodeCommit, Gerrit
  [
    'AWS CodeCommit: denied',
    'denied',
    http(403, '', 'https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/gitops'),
  ],
  [
    'AWS CodeCommit: not there',
    'missing',
    "fatal: repository 'https://git-codecommit.eu-west-1.amazonaws.com/v1/repos/none/' not found",
  ],
  ['Gerrit: overtaken', 'raced', answered('', 'lock failure')],
  [
    'Gerrit: no direct pushes',
    'refused',
    answered(
      "error: branch refs/heads/main:\nYou need 'Push' rights to update a branch.",
      'prohibited by Gerrit: not permitted: update',
    ),
  ],
  // What carries it
  ['ssh: no key of ours', 'denied', ssh('git@git.example: Permission denied (publickey).')],
  [
    'ssh: too many keys',
    'denied',
    ssh('Received disconnect from 10.0.0.1 port 22:2: Too many authentication failures'),
  ],
  [
    'ssh: another host key',
    'stranger',
    ssh(
      '@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@\nHost key verification failed.',
    ),
  ],
  [
    'ssh: no host key is known',
    'stranger',
    ssh(
      'No ED25519 host key is known for git.example and you have requested strict checking.\nHost key verification failed.',
    ),
  ],
  [
    'ssh: closed at once',
    'later',
    ssh(
      'kex_exchange_identification: Connection closed by remote host\nConnection closed by 10.0.0.1 port 22',
    ),
  ],
  ['ssh: reset', 'later', ssh('kex_exchange_identification: read: Connection reset by peer')],
  ['ssh: no answer', 'later', ssh('ssh: connect to host git.example port 22: Connection timed out')],
  [
    'ssh: no such name now',
    'later',
    ssh('ssh: Could not resolve hostname git.example: Temporary failure in name resolution'),
  ],
  [
    'ssh: broken off',
    'later',
    'client_loop: send disconnect: Broken pipe\nsend-pack: unexpected disconnect while reading sideband packet\nfatal: the remote end hung up unexpectedly',
  ],
  [
    'ssh: no such repository',
    'missing',
    ssh("fatal: '/srv/git/none.git' does not appear to be a git repository"),
  ],
  [
    'HTTP: not authenticated',
    'denied',
    "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
  ],
  ['HTTP: a bad gateway', 'later', http(502)],
  ['HTTP: unavailable', 'later', http(503)],
  [
    'HTTP: a proxy that wants a password',
    'denied',
    "fatal: unable to access 'https://git.example/x/': Received HTTP code 407 from proxy after CONNECT",
  ],
  [
    'HTTP: a proxy in trouble',
    'later',
    "fatal: unable to access 'https://git.example/x/': Received HTTP code 503 from proxy after CONNECT",
  ],
  [
    'HTTP: cut off',
    'later',
    'error: RPC failed; curl 92 HTTP/2 stream 5 was not closed cleanly: CANCEL (err 8)\nerror: 4216 bytes of body are still expected\nfetch-pack: unexpected disconnect while reading sideband packet\nfatal: early EOF',
  ],
  [
    'TLS: a certificate that has run out',
    'later',
    "fatal: unable to access 'https://git.example/x/': SSL certificate problem: certificate has expired",
  ],
  [
    'TLS: an unknown authority',
    'later',
    "fatal: unable to access 'https://git.example/x/': server certificate verification failed. CAfile: none CRLfile: none",
  ],
  [
    'TLS: a handshake',
    'later',
    "fatal: unable to access 'https://git.example/x/': gnutls_handshake() failed: The TLS connection was non-properly terminated.",
  ],
];

describe('a failure is told apart', () => {
  it.each(MESSAGES)('%s: %s', (_, verdict, text) => {
    expect(verdictOn(text)).toBe(verdict);
  });

  it('and where nothing is known, it is an outage', () => {
    expect(verdictOn('fatal: something new')).toBeUndefined();
    expect(remoteFailure('https://git.example/x.git', new Error('fatal: something new')).code).toBe(
      'TL_REPOSITORY_UNREACHABLE',
    );
  });
});

describe('a push that failed', () => {
  const failure = (text: string) => pushFailure('https://git.example/x.git', 'main', new Error(text));
  const code = (text: string) => {
    const outcome = failure(text);
    return outcome instanceof ThroughlineError ? outcome.code : outcome;
  };

  it('is made again, waited for, or given up', () => {
    const expected: Record<Verdict, string> = {
      raced: 'raced',
      later: 'TL_REPOSITORY_UNREACHABLE',
      refused: 'TL_PUSH_REJECTED',
      denied: 'TL_REPOSITORY_DENIED',
      missing: 'TL_REPOSITORY_NOT_FOUND',
      stranger: 'TL_REPOSITORY_DENIED',
      full: 'TL_REPOSITORY_UNREACHABLE',
    };
    for (const [name, verdict, text] of MESSAGES) {
      expect(code(text), name).toBe(expected[verdict]);
      const simple = verdict === 'raced' || verdict === 'refused' ? verdict : 'unknown';
      expect(classifyPushFailure(text), name).toBe(simple);
    }
  });

  it('says what the server said, and nothing else', () => {
    const outcome = failure(
      `Pushing to https://git.example/x.git\nEnumerating objects: 5, done.\nCounting objects:  20% (1/5)\rCounting objects: 100% (5/5), done.\n${answered(
        'Resolving deltas:   0% (0/1)\rremote: Resolving deltas: 100% (1/1), completed with 1 local object.\n\n\x1b[31mGitLab: You are not allowed to push code to protected branches on this project.\x1b[0m\n====',
        'pre-receive hook declined',
      )}hint: Updates were rejected\n`,
    );
    expect(outcome).toMatchObject({
      problem: {
        found:
          'GitLab: You are not allowed to push code to protected branches on this project.\npre-receive hook declined',
      },
    });
  });

  it('says that a host key differs, and what to do', () => {
    const outcome = failure(ssh('Host key verification failed.'));
    expect(outcome).toMatchObject({
      code: 'TL_REPOSITORY_DENIED',
      message: expect.stringContaining('host key differs'),
    });
  });
});

describe('I9: what is said', () => {
  it('holds no secret, and nothing that moves a cursor', () => {
    const hostile = `remote: \x1b]0;owned\x07\x1b[2J\x1b[1;1Hhello\x08\x08\u202e ghp_0123456789abcdefghijABCDEFGHIJ012345\nremote: see https://bot:hunter2@git.example/x?token=abc\n`;
    for (const text of [serverMessage(hostile), lastLines(hostile, 5)]) {
      expect(text).not.toMatch(/hunter2|token=abc|ghp_/);
      expect(text).not.toMatch(/[\0-\x08\x0b-\x1f\x7f\u202e]/);
      expect(text).toContain('hello');
    }
  });

  it('has an end', () => {
    const long = Array.from(
      { length: 10_000 },
      (_, index) => `remote: line ${index} ${'x'.repeat(500)}`,
    ).join('\n');
    expect(serverMessage(long).length).toBeLessThanOrEqual(2000);
  });
});
