// How git reaches remotes, and what signs commits: the section `git` of the server's configuration. Of secrets it holds
// names alone, of files or of environment variables, so that the file can be shown (I9).
import { z } from 'zod';
import { isMatch, MATCH_FORM } from '../domain/git-places.js';

/** These paths stand in a command line of ssh's own syntax, which has no way to write the characters left out. */
const file = z
  .string()
  .min(1)
  .max(1000)
  .regex(/^[^"\\$\0-\x1f]+$/, 'expected the path of a file, without quotes, $ and backslashes');

const secret = z.union(
  [
    z.strictObject({ file: file.describe('A file that holds it and nothing else') }),
    z.strictObject({ env: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/) }),
  ],
  'expected { file: … } or { env: … }, where it is; never the secret itself',
);

const id = z
  .union([z.int().positive(), z.string().regex(/^\d{1,20}$/)], 'expected a number')
  .transform(String);

const githubApp = z.strictObject({
  appId: z
    .union(
      [z.int().positive(), z.string().regex(/^[A-Za-z0-9._]{1,100}$/)],
      'expected the App’s id, or its client id',
    )
    .transform(String),
  installationId: id.optional().describe('Looked up by the repository where it is left out'),
  privateKey: file.describe('A file with the App’s key (PEM)'),
  apiUrl: z
    .url({ protocol: /^https?$/, error: 'expected https://…' })
    .default('https://api.github.com')
    .describe('Of a GitHub Enterprise Server: https://HOST/api/v3'),
});

const access = z
  .strictObject({
    match: z
      .string()
      .max(2048)
      .refine(isMatch, `expected ${MATCH_FORM}`)
      .describe('Which repositories: a host, or how their URLs begin; the longest one counts'),
    sshKey: file.optional().describe('A private key; `knownHosts` goes with it'),
    knownHosts: z
      .union([file, z.array(z.string().regex(/^[^\0-\x1f]+$/)).min(1)], 'expected a file, or lines')
      .optional()
      .describe('The keys of the host, as in known_hosts; no other key is believed'),
    token: secret.optional(),
    user: z
      .string()
      .regex(/^[^\0-\x1f:]{1,200}$/)
      .optional()
      .describe('Who the token is of; x-access-token, for GitLab oauth2'),
    githubApp: githubApp.optional(),
  })
  .superRefine(({ match, sshKey, knownHosts, token, githubApp: app, user }, context) => {
    const refuse = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message: `expected ${message}` });
    if ([sshKey, token, app].filter((one) => one !== undefined).length !== 1)
      refuse('match', 'one of sshKey, token and githubApp beside it');
    if (sshKey !== undefined && knownHosts === undefined)
      refuse('sshKey', 'knownHosts beside it: a host is believed by its key alone');
    if (sshKey === undefined && knownHosts !== undefined) refuse('knownHosts', 'sshKey beside it');
    if (token === undefined && user !== undefined) refuse('user', 'token beside it');
    if (sshKey !== undefined && /^https?:/.test(match))
      refuse('match', 'an ssh URL or a host: a key is for ssh');
    if (sshKey === undefined && match.startsWith('ssh:'))
      refuse('match', 'an https URL or a host: a token is for https');
  });

const signing = z
  .strictObject({
    format: z.enum(['ssh', 'openpgp']),
    key: file.describe(
      'ssh: a file with a private key, without a passphrase; openpgp: the id of a key of gpg’s',
    ),
    program: file.optional().describe('Instead of ssh-keygen or gpg'),
  })
  .describe('What signs the commits that releases make');

export const gitSchema = z.strictObject({
  access: z
    .array(access)
    .default([])
    .describe('How remotes are reached; git’s own helpers where none matches'),
  signing: signing.optional(),
});

export type GitSettings = z.output<typeof gitSchema>;
export type AccessSettings = z.output<typeof access>;
export type SecretSettings = z.output<typeof secret>;
export type GitHubAppSettings = z.output<typeof githubApp>;
export type CommitSigning = z.output<typeof signing>;

/** The same settings with files named from the root: `beside` says what a relative path is relative to. */
export function withPlaces(settings: GitSettings, beside: (path: string) => string): GitSettings {
  const { signing } = settings;
  return {
    access: settings.access.map((one) => ({
      ...one,
      ...(one.sshKey === undefined ? {} : { sshKey: beside(one.sshKey) }),
      ...(typeof one.knownHosts === 'string' ? { knownHosts: beside(one.knownHosts) } : {}),
      ...(one.token && 'file' in one.token ? { token: { file: beside(one.token.file) } } : {}),
      ...(one.githubApp
        ? { githubApp: { ...one.githubApp, privateKey: beside(one.githubApp.privateKey) } }
        : {}),
    })),
    ...(signing
      ? { signing: { ...signing, ...(signing.format === 'ssh' ? { key: beside(signing.key) } : {}) } }
      : {}),
  };
}
