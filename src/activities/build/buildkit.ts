// The ImageBuilder over a buildkitd that any worker reaches: the daemon fetches the commit and the model itself, and
// pushes the image, so that nothing of a build lies with the worker. A build ends with the connection that asked for it,
// so that a dead worker leaves none behind; what it had done is in the daemon's cache.
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { ThroughlineError } from '../../domain/errors.js';
import type { ReleaseId } from '../../domain/ids.js';
import type { BuiltImage } from '../../domain/release.js';
import { authorizationFor, Mirror } from '../../git/index.js';
import { inheritedEnvironment } from '../../processes/index.js';
import { carrierEnvironment } from '../../telemetry/environment.js';
import type { Registry } from '../registry/registry.js';
import type { BuildOptions, ImageBuild, ImageBuilder } from './builder.js';
import { buildkitArguments, buildkitBaseImages, buildkitDigest, unavailableBaseImage } from './frontends.js';

export interface BuildKitOptions {
  /** throughline-buildkit (buildkit/): takes buildctl's words, and leaves the trace context as it is. */
  readonly program: string;
  /** `tcp://HOST:PORT`, `unix://PATH`, `kube-pod://POD?namespace=…`: as buildctl takes it; its own default where absent. */
  readonly address?: string | undefined;
  readonly tls?: { readonly ca: string; readonly certificate: string; readonly key: string } | undefined;
  readonly contexts: Readonly<Record<string, string>>;
  readonly insecureRegistry: boolean;
  /** Whether the layers are kept in the registry, next to the image, for a daemon that has lost its own. */
  readonly cacheInRegistry: boolean;
  readonly gitCache: string;
}

const LOG_LINES = 60;
const PASSED_ON = [
  'PATH',
  'HOME',
  'DOCKER_CONFIG',
  'KUBECONFIG',
  'BUILDKIT_HOST',
  'TMPDIR',
  'XDG_RUNTIME_DIR',
  'SSH_AUTH_SOCK',
];

export class BuildKitImageBuilder implements ImageBuilder {
  constructor(
    private readonly registry: Registry,
    private readonly options: BuildKitOptions,
  ) {}

  async check(): Promise<void> {
    await this.registry.check();
    const { code, log } = await this.run(['check'], {}, AbortSignal.timeout(20_000), () => {});
    if (code === 0) return;
    throw new ThroughlineError('TL_TOOL_MISSING', 'No buildkitd answers', {
      expected: `a buildkitd at ${this.options.address ?? 'the address in BUILDKIT_HOST'}, and ${this.options.program} on PATH`,
      found: log.join('\n').slice(-1000),
      hint: 'Apply deploy/kubernetes/buildkit, and set THROUGHLINE_BUILDKIT_ADDRESS and the THROUGHLINE_BUILDKIT_TLS_ variables.',
    });
  }

  async build(build: ImageBuild, { signal, report }: BuildOptions): Promise<BuiltImage> {
    const name = `${build.image}:${build.tag}`;
    report(`asking the registry for ${name}`);
    const existing = await this.registry.digest(name, signal);
    if (existing) return imageOf(name, existing); // an earlier attempt pushed it
    const scratch = await mkdtemp(join(tmpdir(), 'throughline-build-'));
    try {
      const source = await this.source(build, scratch, signal);
      const { image } = build;
      const cache = this.options.cacheInRegistry ? `${image}:buildcache` : undefined;
      const command = buildkitArguments(
        build,
        { context: source.context, model: modelImage(build), attempt: scratch, cache },
        { ...this.options, output: 'registry' },
      );
      const secrets = source.authorization
        ? ['--secret', 'id=GIT_AUTH_HEADER,env=THROUGHLINE_GIT_AUTHORIZATION']
        : [];
      const env = {
        ...carrierEnvironment(build.trace), // the daemon's own spans, and those of RUN steps, join the release's trace
        ...(source.authorization ? { THROUGHLINE_GIT_AUTHORIZATION: source.authorization } : {}),
      };
      report('buildkit: starting');
      const { code, log } = await this.run([...command, ...secrets], env, signal, (line) => {
        if (/^#\d+ \[/.test(line)) report(`buildkit: ${line.replace(/^#\d+ /, '').slice(0, 120)}`);
      });
      signal.throwIfAborted();
      if (code !== 0) throw failureOf(build, code, log);
      const baseImages = await buildkitBaseImages(scratch, build.model?.digest);
      return {
        ...imageOf(name, await buildkitDigest(scratch)),
        ...(baseImages.length > 0 ? { baseImages } : {}),
      };
    } finally {
      await rm(scratch, { recursive: true, force: true });
    }
  }

  /** A build is its connection: the attempt that was asked to end has closed it. */
  async stop(_release: ReleaseId, { report }: BuildOptions): Promise<void> {
    report('the build has ended with its connection');
  }

  /** The commit, as the daemon fetches it; from this worker where only that knows how to reach it. */
  private async source(
    build: ImageBuild,
    scratch: string,
    signal: AbortSignal,
  ): Promise<{ context: { git: string } | { directory: string }; authorization?: string | undefined }> {
    const { repository, commit, context } = build;
    if (/^https?:/.test(repository)) {
      const directory = context === '.' || context === '' ? '' : `:${context}`;
      return {
        context: { git: `${repository}#${commit}${directory}` },
        authorization: await authorizationFor(repository, signal),
      };
    }
    const mirror = await Mirror.open(this.options.gitCache, repository);
    await mirror.fetchRef(commit, signal);
    const checkout = join(scratch, 'source');
    await mirror.checkout(commit, checkout, signal, context);
    return { context: { directory: join(checkout, context) } };
  }

  /** Gives the exit code, and the last lines that it wrote. */
  private async run(
    parameters: readonly string[],
    env: Readonly<Record<string, string>>,
    signal: AbortSignal,
    onLine: (line: string) => void,
  ): Promise<{ code: number | null; log: string[] }> {
    const { address, tls } = this.options;
    const connection = [
      ...(address ? [`--addr=${address}`] : []),
      ...(tls ? [`--tlscacert=${tls.ca}`, `--tlscert=${tls.certificate}`, `--tlskey=${tls.key}`] : []),
    ];
    const child = spawn(this.options.program, [...connection, ...parameters], {
      env: { ...inheritedEnvironment(PASSED_ON), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const log: string[] = [];
    const take = (line: string) => {
      log.push(line);
      if (log.length > LOG_LINES) log.shift();
      onLine(line);
    };
    for (const stream of [child.stdout, child.stderr]) createInterface({ input: stream }).on('line', take);
    const abort = () => child.kill('SIGTERM'); // the daemon cancels the solve, and is waited for
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await new Promise((resolve) => {
        child.once('error', (error) => resolve({ code: null, log: [error.message] }));
        child.once('close', (code) => resolve({ code, log }));
      });
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }
}

/** The model by digest, as BuildKit names an image. */
function modelImage({ model }: ImageBuild): string | undefined {
  if (!model) return undefined;
  if (model.uri.startsWith('oci://')) return model.uri.replace(/^oci:/, 'docker-image:');
  throw new ThroughlineError('TL_MODEL_INVALID', 'The builder cannot fetch this model', {
    expected: 'a model in a registry: oci://REPOSITORY@DIGEST',
    found: model.uri,
  });
}

function imageOf(name: string, digest: BuiltImage['digest']): BuiltImage {
  return { name, digest, reference: `${name}@${digest}`, location: `docker://${name}@${digest}` };
}

/** Signs of a daemon, a registry or a git server that is away: worth another try. */
const AWAY =
  /connection refused|connection reset|no such host|i\/o timeout|context deadline exceeded|Unavailable|EOF|TLS handshake timeout|50[234] /;

/** A registry that two pushes of one layer at a time have confused: the next try finds it there. */
const CONFUSED = /blob unknown to registry|provided digest did not match uploaded content/;

function failureOf(build: ImageBuild, code: number | null, log: readonly string[]): ThroughlineError {
  const tail = log.join('\n').slice(-4096);
  const missing = unavailableBaseImage(tail);
  if (missing) {
    return new ThroughlineError(
      'TL_BASE_IMAGE_UNAVAILABLE',
      `A base image of ${build.dockerfile} cannot be had`,
      { found: missing },
    );
  }
  const last = log.findLast((line) => /^(?:error|ERROR)/.test(line)) ?? '';
  const confused = last.includes('failed to push') && CONFUSED.test(tail);
  if (confused || (AWAY.test(last) && !/did not complete successfully/.test(last))) {
    return new ThroughlineError(
      'TL_BUILDER_UNREACHABLE',
      'The image builder, or what it builds from, is away',
      { found: last },
    );
  }
  return new ThroughlineError(
    'TL_BUILD_FAILED',
    `The build ended with ${code === null ? 'a kill' : `exit code ${code}`} while building ${build.image}`,
    {
      found: `end of its log:\n${tail || '(nothing)'}`,
    },
  );
}
