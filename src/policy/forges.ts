// Where pull requests are opened: which forge keeps which repositories, and with which credentials.
import { dirname, resolve } from 'node:path';
import { z } from 'zod';

export const FORGE_KINDS = ['github', 'gitlab', 'gitea'] as const;
export type ForgeKind = (typeof FORGE_KINDS)[number];

/** Forgejo has the API of Gitea. */
const KNOWN: Readonly<Record<string, { readonly kind: ForgeKind; readonly apiUrl: string }>> = {
  'github.com': { kind: 'github', apiUrl: 'https://api.github.com' },
  'gitlab.com': { kind: 'gitlab', apiUrl: 'https://gitlab.com/api/v4' },
  'codeberg.org': { kind: 'gitea', apiUrl: 'https://codeberg.org/api/v1' },
};

/** What is below a forge's address. */
const API_PATHS = { github: '/api/v3', gitlab: '/api/v4', gitea: '/api/v1' } as const;

const MATCH =
  /^(?:(https?):\/\/)?([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d{1,5})?)((?:\/[A-Za-z0-9_.~-]+)*)\/?$/i;

const app = z.strictObject({
  appId: z.union([z.int().positive(), z.string().min(1)]).describe('Its id, or its client id'),
  privateKeyFile: z.string().min(1).describe('PEM'),
  installationId: z
    .int()
    .positive()
    .optional()
    .describe('Looked up for each repository where it is not said'),
});

export const forgeSchema = z
  .strictObject({
    match: z
      .string()
      .regex(MATCH, 'expected a host, or the beginning of a URL: https://git.example/ml')
      .describe('A host, or what the URLs of its repositories start with; the longest one that fits counts'),
    kind: z.enum(FORGE_KINDS).optional().describe('Not needed for github.com, gitlab.com and codeberg.org'),
    apiUrl: z
      .url({ protocol: /^https?$/, error: 'expected https://…' })
      .optional()
      .describe('Where its API is elsewhere than usual'),
    tokenFile: z.string().min(1).optional().describe('A file with the token; read again when it is used'),
    tokenEnv: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of an environment variable')
      .optional()
      .describe('An environment variable of the worker with the token'),
    app: app.optional().describe('A GitHub App, instead of a token'),
  })
  .check((context) => {
    const { match, kind, app, tokenFile, tokenEnv } = context.value;
    const kindIs = kind ?? KNOWN[hostOf(match)]?.kind;
    const wrong = (path: string, message: string) =>
      context.issues.push({ code: 'custom', message, path: [path], input: context.value });
    if (!kindIs) wrong('kind', `expected ${FORGE_KINDS.join(', ')}: the host does not tell`);
    if (app && kindIs && kindIs !== 'github') wrong('app', 'expected a token: only GitHub has Apps');
    if ([tokenFile, tokenEnv, app].filter((one) => one !== undefined).length !== 1)
      wrong('match', 'expected one of tokenFile, tokenEnv and app beside it');
  });

export type ForgeSettings = z.output<typeof forgeSchema>;

function partsOf(match: string): { protocol: string; host: string; path: string } {
  const [, protocol = 'https', host = '', path = ''] = MATCH.exec(match) ?? [];
  return { protocol: protocol.toLowerCase(), host: host.toLowerCase(), path: path.replace(/^\//, '') };
}

const hostOf = (match: string) => partsOf(match).host;

/**
 * Which of them keeps a repository, by its host and path. A port counts where both have one and the repository is not
 * named by SSH, whose port is another one. Whatever a plan names, tokens go to `apiUrl` alone, which is an operator's.
 */
export function forgeOf(
  forges: readonly ForgeSettings[],
  repository: { readonly host: string; readonly path: string; readonly protocol: string },
): ForgeSettings | undefined {
  const [name = '', port] = repository.host.split(':');
  const fits = forges.filter(({ match }) => {
    const wanted = partsOf(match);
    const [wantedName, wantedPort] = wanted.host.split(':');
    const samePort = repository.protocol === 'ssh' || wantedPort === port;
    return wantedName === name && samePort && isBelow(repository.path, wanted.path);
  });
  return fits.sort((one, other) => partsOf(other.match).path.length - partsOf(one.match).path.length)[0];
}

function isBelow(path: string, above: string): boolean {
  return above === '' || path === above || path.startsWith(`${above}/`);
}

/** Kind and address of the API, as they are said or known. */
export function endpointOf({ match, kind, apiUrl }: ForgeSettings): { kind: ForgeKind; apiUrl: string } {
  const { protocol, host } = partsOf(match);
  const known = KNOWN[host];
  const is = kind ?? known?.kind ?? 'gitea'; // the schema has seen to it
  const usual = known?.kind === is ? known.apiUrl : `${protocol}://${host}${API_PATHS[is]}`;
  return { kind: is, apiUrl: apiUrl ?? usual };
}

/** With files as they are from anywhere: they are named from beside the configuration. */
export function withFilesBeside(forge: ForgeSettings, file: string): ForgeSettings {
  const beside = (path: string) => resolve(dirname(file), path);
  return {
    ...forge,
    ...(forge.tokenFile ? { tokenFile: beside(forge.tokenFile) } : {}),
    ...(forge.app ? { app: { ...forge.app, privateKeyFile: beside(forge.app.privateKeyFile) } } : {}),
  };
}
