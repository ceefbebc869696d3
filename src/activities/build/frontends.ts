// The command lines of the three programs that can build: pure functions from a build to words, and from what the
// program wrote to a digest. Nothing of a plan ever reaches a shell.
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ThroughlineError } from '../../domain/errors.js';
import { type Digest, isDigest, parseDigest } from '../../domain/ids.js';
import type { BaseImage } from '../../domain/release.js';
import { readJson, readText } from '../../processes/index.js';
import type { ImageBuild } from './builder.js';

export type FrontendName = 'buildctl' | 'buildx' | 'buildah';

/** Where the image goes: an OCI layout on disk, or the registry that its name says. */
export type ImageOutput = 'layout' | 'registry';

export interface FrontendOptions {
  readonly output: ImageOutput;
  /** Named contexts, instead of base images that cannot be pulled: `golang:1.26` → `container-image://…`. */
  readonly contexts: Readonly<Record<string, string>>;
  /** buildah only: its image store. */
  readonly storage: string;
  /** Registries that are spoken to without TLS. */
  readonly insecureRegistry: boolean;
}

/** Directories and files of one build, all absolute. */
export interface BuildPaths {
  readonly context: string;
  readonly model: string;
  /** Where the program writes the image and what it says of it. */
  readonly attempt: string;
}

export interface Frontend {
  readonly name: FrontendName;
  /** Commands to run one after the other, each as words. */
  commands(build: ImageBuild, paths: BuildPaths, options: FrontendOptions): string[][];
  /** The digest of the image that the last command made, from the directory that it wrote into. */
  digest(attempt: string, options: FrontendOptions): Promise<Digest>;
}

/** Below the attempt's directory. */
export const LAYOUT = 'image';
const METADATA = 'metadata.json';
const DIGEST_FILE = 'digest';

const words = (flag: string, entries: Readonly<Record<string, string>>, separator = '=') =>
  Object.entries(entries).flatMap(([name, value]) => [flag, `${name}${separator}${value}`]);

/** Where the parts of a build are that BuildKit takes: on this machine, or where its daemon fetches them itself. */
export interface BuildKitSources {
  /** A directory, or `URL#COMMIT:DIRECTORY`. */
  readonly context: { readonly directory: string } | { readonly git: string };
  /** A directory, or an image as `docker-image://…`. */
  readonly model?: string | undefined;
  /** Where the program writes the image and what it says of it. */
  readonly attempt: string;
  /** A reference that the layers are kept under, for a daemon that has lost its own. */
  readonly cache?: string | undefined;
}

/** The words after `buildctl`. */
export function buildkitArguments(
  build: ImageBuild,
  { context, model, attempt, cache }: BuildKitSources,
  options: Pick<FrontendOptions, 'output' | 'contexts' | 'insecureRegistry'>,
): string[] {
  const contexts = { ...options.contexts, ...(model ? { model } : {}) };
  const local = {
    ...('directory' in context ? { context: context.directory, dockerfile: context.directory } : {}),
    ...localContexts(contexts),
  };
  const output = [
    options.output === 'layout' ? `type=oci,tar=false,dest=${attempt}/${LAYOUT}` : 'type=image,push=true',
    csv(`name=${build.image}:${build.tag}`),
    ...(options.insecureRegistry && options.output === 'registry' ? ['registry.insecure=true'] : []),
    'oci-mediatypes=true',
    // The same model makes the same image. A trainer's layers stay as they were built instead: they are large, and nodes
    // that have them need not pull them again for every release.
    ...(build.model ? ['rewrite-timestamp=true'] : []),
    ...Object.entries(build.annotations).map(([name, value]) => csv(`annotation.${name}=${value}`)),
  ];
  const kept = csv(`ref=${cache}`);
  return [
    'build',
    '--progress=plain',
    '--frontend=dockerfile.v0',
    ...Object.entries(local).flatMap(([name, directory]) => ['--local', `${name}=${directory}`]),
    ...('git' in context ? words('--opt', { context: context.git }) : []),
    ...words('--opt', { filename: build.dockerfile }),
    ...words('--opt', namedContexts(contexts)),
    ...words(
      '--opt',
      prefixed('build-arg:', { ...build.arguments, SOURCE_DATE_EPOCH: String(build.createdAt) }),
    ),
    ...words('--opt', prefixed('label:', build.annotations)),
    ...(cache
      ? [
          `--import-cache=type=registry,${kept}`,
          `--export-cache=type=registry,${kept},mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true`,
        ]
      : []),
    '--metadata-file',
    `${attempt}/${METADATA}`,
    '--output',
    output.join(','),
  ];
}

/** The digest of the image that buildctl made, from its metadata file. */
export const buildkitDigest = (attempt: string): Promise<Digest> => metadataDigest(join(attempt, METADATA));

const materialsSchema = z.object({
  'throughline.materials': z
    .object({ images: z.array(z.object({ name: z.string(), digest: z.string() })) })
    .optional(),
});

/** What throughline-buildkit has found in the daemon's own record of a build; without the model, which is no base. */
export async function buildkitBaseImages(attempt: string, model: string | undefined): Promise<BaseImage[]> {
  const metadata = materialsSchema.safeParse(await readJson(join(attempt, METADATA)));
  const images = metadata.success ? (metadata.data['throughline.materials']?.images ?? []) : [];
  return images.flatMap(({ name, digest }) =>
    isDigest(digest) && digest !== model ? [{ name, digest }] : [],
  );
}

export const buildctl: Frontend = {
  name: 'buildctl',
  commands: (build, { context, model, attempt }, options) => [
    ['buildctl', ...buildkitArguments(build, { context: { directory: context }, model, attempt }, options)],
  ],
  digest: buildkitDigest,
};

export const buildx: Frontend = {
  name: 'buildx',
  commands(build, { context, model, attempt }, options) {
    const name = csv(`name=${build.image}:${build.tag}`);
    const destination =
      options.output === 'layout'
        ? `type=oci,tar=false,dest=${attempt}/${LAYOUT},${name}`
        : `type=registry,${name}`;
    return [
      [
        'docker',
        'buildx',
        'build',
        '--progress=plain',
        '--provenance=false', // Throughline attests itself; an index around the image would change what is pinned
        '--file',
        join(context, build.dockerfile),
        ...words('--build-context', { model, ...options.contexts }),
        ...words('--build-arg', { ...build.arguments, SOURCE_DATE_EPOCH: String(build.createdAt) }),
        ...words('--label', build.annotations),
        ...words('--annotation', build.annotations),
        '--metadata-file',
        `${attempt}/${METADATA}`,
        '--output',
        `${destination},oci-mediatypes=true,rewrite-timestamp=true`,
        context,
      ],
    ];
  },
  digest: (attempt) => metadataDigest(join(attempt, METADATA)),
};

export const buildah: Frontend = {
  name: 'buildah',
  commands(build, { context, model, attempt }, options) {
    const store = [
      'buildah',
      '--root',
      join(options.storage, 'root'),
      '--runroot',
      join(options.storage, 'run'),
    ];
    const name = `${build.image}:${build.tag}`;
    const bud = [
      ...store,
      'bud',
      '--isolation',
      'chroot', // no container runtime and no privileges beyond a root's own
      '--layers',
      '--force-rm', // a failed step leaves no working container behind
      '--format',
      'oci',
      '--timestamp',
      String(build.createdAt),
      ...words('--build-context', { model, ...options.contexts }),
      ...words('--build-arg', build.arguments),
      ...words('--label', build.annotations),
      ...words('--annotation', build.annotations),
      '--tag',
      options.output === 'layout' ? `oci:${attempt}/${LAYOUT}:${build.tag}` : name,
      '--file',
      join(context, build.dockerfile),
      context,
    ];
    if (options.output === 'layout') return [bud];
    const tls = options.insecureRegistry ? ['--tls-verify=false'] : [];
    return [
      bud,
      [...store, 'push', ...tls, '--digestfile', `${attempt}/${DIGEST_FILE}`, name, `docker://${name}`],
    ];
  },
  async digest(attempt, options) {
    if (options.output === 'layout') return layoutDigest(join(attempt, LAYOUT));
    return parseDigest((await readText(join(attempt, DIGEST_FILE)))?.trim() ?? '');
  },
};

export const FRONTENDS: Readonly<Record<FrontendName, Frontend>> = { buildctl, buildx, buildah };

/** The digest of the one image of an OCI layout (OCI image specification, "Image Layout"). */
export async function layoutDigest(layout: string): Promise<Digest> {
  const index = await readJson<{ manifests?: { digest?: string }[] }>(join(layout, 'index.json'));
  const digest = index?.manifests?.[0]?.digest;
  if (index?.manifests?.length !== 1 || !isDigest(digest)) {
    throw new ThroughlineError('TL_BUILD_FAILED', 'The builder left no image', {
      expected: `an OCI layout with one image at ${layout}`,
      found: (await readdir(layout).catch(() => [])).join(', ') || 'nothing',
    });
  }
  return digest;
}

async function metadataDigest(path: string): Promise<Digest> {
  const metadata = await readJson<Record<string, unknown>>(path);
  const digest = metadata?.['containerimage.digest'];
  if (!isDigest(digest)) {
    throw new ThroughlineError('TL_BUILD_FAILED', 'The builder reported no digest', {
      expected: `containerimage.digest in ${path}`,
    });
  }
  return digest;
}

/** BuildKit reads output options as one CSV record (RFC 4180): a field with a comma or a quote is quoted. */
function csv(field: string): string {
  return /[",\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

function prefixed(prefix: string, entries: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(entries).map(([name, value]) => [`${prefix}${name}`, value]));
}

/** `docker buildx` turns directories into `local:` itself; `buildctl` is told both halves. */
function namedContexts(contexts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(contexts).map(([name, source]) => [
      `context:${name}`,
      isDirectoryContext(source)
        ? `local:${localName(name)}`
        : source.replace(/^container-image:\/\//, 'docker-image://'),
    ]),
  );
}

function localContexts(contexts: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(contexts)
      .filter(([, source]) => isDirectoryContext(source))
      .map(([name, source]) => [localName(name), source]),
  );
}

const isDirectoryContext = (source: string) => !source.includes('://');
const localName = (name: string) => `named-${name.replace(/[^A-Za-z0-9]+/g, '-')}`;

const PULL_FAILED =
  /(?:failed to resolve source metadata for|creating build container: |initializing source docker:\/\/|pull access denied for|short-name)[^\n]*/i;

/** The base image that could not be had, by what the builder printed; undefined where it failed for another reason. */
export function unavailableBaseImage(log: string): string | undefined {
  return PULL_FAILED.exec(log)?.[0].trim();
}
