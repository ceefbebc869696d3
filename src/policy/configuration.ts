// What an operator lets releases and callers do: one file for gateways and workers. Validated once, here; a process
// without a file has what `NO_CONFIGURATION` says.
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { messageOf, type Problem, ThroughlineError } from '../domain/errors.js';
import { parseDuration } from '../plan/duration.js';
import { readYaml } from '../plan/yaml.js';
import { forgeSchema, withFilesBeside } from './forges.js';
import { gitSchema, withPlaces } from './git.js';
import { JOB_FEATURES } from './job.js';

/** What somebody may be allowed to do (DESIGN §8). `admin` may do everything. */
export const ROLES = ['read', 'trigger', 'approve', 'admin'] as const;
export type Role = (typeof ROLES)[number];

const name = z
  .string()
  .regex(/^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$/, 'expected letters, digits, dots, dashes and underscores');
const names = z.array(name).min(1, 'expected at least one; leave it out for all of them');
const patterns = z.array(z.string().min(1).max(2048));

const duration = z.string().transform((text, context) => {
  const seconds = parseDuration(text);
  if (seconds !== undefined && seconds > 0 && seconds <= 30 * 86_400) return seconds;
  context.addIssue({ code: 'custom', message: 'expected a duration such as 30s, 15m or 6h' });
  return z.NEVER;
});

const httpUrl = z.url({ protocol: /^https?$/, error: 'expected https://…' });

const grantShape = {
  roles: z.array(z.enum(ROLES)).min(1),
  models: names.optional().describe('Of these models only'),
  environments: names.optional().describe('In these environments only'),
};
const grant = z.strictObject(grantShape);

const token = z.strictObject({
  name: name.describe('Who has it, as logs and histories say it'),
  sha256: z
    .string()
    .regex(/^[0-9a-f]{64}$/, 'expected the SHA-256 of the token in hex (`throughline token`)')
    .describe('The token itself is nowhere'),
  expires: z.iso.datetime({ offset: true, error: 'expected a time, as in 2027-01-31T00:00:00Z' }).optional(),
  grants: z.array(grant).min(1),
});

const issuer = z.strictObject({
  issuer: httpUrl,
  audience: z.string().min(1),
  jwksUri: httpUrl.optional().describe('Where the issuer’s metadata does not name it'),
  nameClaim: z.string().min(1).default('sub').describe('Which claim says who it is'),
  grants: z
    .array(
      z.strictObject({
        ...grantShape,
        claims: z
          .record(z.string(), z.string())
          .default({})
          .describe('What the token has to say: each claim equals the value, or is a list that has it'),
      }),
    )
    .min(1),
});

const webhook = z.strictObject({
  name,
  secretFile: z
    .string()
    .min(1)
    .describe('A file with the secret, whsec_…; with several lines while it is changed'),
  grants: z.array(grant).min(1),
});

const sink = z.strictObject({
  url: httpUrl,
  secretFile: z.string().min(1).optional().describe('Signs what is sent, as Standard Webhooks says'),
});

const configurationSchema = z.strictObject({
  apiVersion: z.literal('throughline.dev/v1alpha1'),
  kind: z.literal('ServerConfiguration'),
  gateway: z
    .strictObject({
      publicUrl: httpUrl.optional().describe('How callers reach the gateway'),
      trustedProxies: z
        .array(z.union([z.ipv4(), z.ipv6(), z.cidrv4(), z.cidrv6()], 'expected an address or a network'))
        .default([])
        .describe('Whose X-Forwarded-… headers are believed'),
      pollLease: duration
        .optional()
        .describe('A release is canceled when its caller has not asked for it for so long'),
      drain: duration.optional().describe('How long a gateway that was asked to end goes on answering'),
      requestsPerMinute: z.int().min(1).default(6_000).describe('Of one caller, in one gateway'),
    })
    .prefault({}),
  authentication: z
    .strictObject({
      tokens: z
        .array(token)
        .refine((all) => new Set(all.map((one) => one.name)).size === all.length, 'expected each name once')
        .default([]),
      oidc: z.array(issuer).default([]),
      webhooks: z.array(webhook).default([]),
    })
    .optional(),
  approval: z
    .strictObject({
      separate: z
        .boolean()
        .default(false)
        .describe('Whether somebody else has to approve than who triggered'),
    })
    .prefault({}),
  allow: z
    .strictObject({
      repositories: patterns.optional().describe('Of models; `*` is anything but a slash, `**` anything'),
      plans: patterns.optional().describe('Paths of plans'),
      gitopsRepositories: patterns.optional(),
      registries: patterns.optional().describe('Images that are built, and that Jobs run'),
      namespaces: names.optional().describe('Of training Jobs'),
      serviceAccounts: names.default(['default']).describe('Of training Jobs'),
      argocdNamespaces: names.optional(),
      verifyUrls: patterns
        .optional()
        .describe('What checks of deployments may ask, without the query: https://*.models.example/**'),
      jobs: z
        .array(z.enum(JOB_FEATURES))
        .default([])
        .describe('What training Jobs may have beyond the baseline of the Pod Security Standards'),
    })
    .prefault({}),
  git: gitSchema.prefault({}).describe('How workers reach git servers, and what signs their commits'),
  events: z.array(sink).default([]).describe('Who is told of releases, by CloudEvents'),
  forges: z
    .array(forgeSchema)
    .refine((all) => new Set(all.map(({ match }) => match)).size === all.length, 'expected each match once')
    .default([])
    .describe('Where pull requests are opened'),
});

export type ServerConfiguration = z.output<typeof configurationSchema>;
export type Grant = z.output<typeof grant>;
export type TokenSettings = z.output<typeof token>;
export type IssuerSettings = z.output<typeof issuer>;
export type WebhookSettings = z.output<typeof webhook>;
export type Allowed = ServerConfiguration['allow'];

const HEADER = { apiVersion: 'throughline.dev/v1alpha1', kind: 'ServerConfiguration' } as const;

export const NO_CONFIGURATION: ServerConfiguration = configurationSchema.parse(HEADER);

/** JSON Schema (draft 2020-12) of what a person writes. */
export function configurationJsonSchema(): Record<string, unknown> {
  return z.toJSONSchema(configurationSchema, { io: 'input', unrepresentable: 'any' });
}

/** Reads the file that THROUGHLINE_CONFIG names. Throws TL_CONFIG_INVALID with the place of what is wrong. */
export async function readConfiguration(file: string | undefined): Promise<ServerConfiguration> {
  if (file === undefined) return NO_CONFIGURATION;
  const text = await readFile(file, 'utf8').catch((cause) => {
    throw new ThroughlineError('TL_CONFIG_INVALID', `The configuration ${file} cannot be read`, {
      found: messageOf(cause),
      cause,
    });
  });
  const configuration = parseConfiguration(text, file);
  const beside = (path: string) => resolve(dirname(file), path);
  return {
    ...configuration,
    ...(configuration.authentication && {
      authentication: {
        ...configuration.authentication,
        webhooks: configuration.authentication.webhooks.map((one) => ({
          ...one,
          secretFile: beside(one.secretFile),
        })),
      },
    }),
    git: withPlaces(configuration.git, beside),
    events: configuration.events.map((one) => ({
      ...one,
      ...(one.secretFile ? { secretFile: beside(one.secretFile) } : {}),
    })),
    forges: configuration.forges.map((one) => withFilesBeside(one, file)),
  };
}

export function parseConfiguration(text: string, file: string): ServerConfiguration {
  const [document] = readYaml(text, file, 'TL_CONFIG_INVALID').documents;
  const parsed = configurationSchema.safeParse(document?.value ?? {});
  if (parsed.success) return parsed.data;
  const [first, ...also] = parsed.error.issues.flatMap((issue): Problem[] => {
    const at = issue.path.join('.') || 'the configuration';
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map((key) => ({
        code: 'TL_CONFIG_INVALID',
        message: `Unknown key ${JSON.stringify(key)} in ${at}`,
        where: document?.locateKey(issue.path, key),
      }));
    }
    // Without what was found: somebody may have written a token where its hash belongs (I9).
    return [
      {
        code: 'TL_CONFIG_INVALID',
        message: `${at} is not valid`,
        expected: issue.message.replace(/^expected /, ''),
        where: document?.locate(issue.path),
      },
    ];
  });
  throw ThroughlineError.from({
    ...(first ?? { code: 'TL_CONFIG_INVALID', message: `${file} is not valid` }),
    ...(also.length > 0 ? { also } : {}),
  });
}
