// The ImageBuilder of one machine: runs buildctl, docker buildx or buildah as a detached task (processes/), so that a
// killed worker neither ends a build nor begins a second one. What is built lies under its release's tag, and a build
// whose image is there already is done.
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ThroughlineError } from '../../domain/errors.js';
import type { ReleaseId } from '../../domain/ids.js';
import type { BuiltImage } from '../../domain/release.js';
import { Mirror } from '../../git/index.js';
import {
  cancelTask,
  exists,
  inheritedEnvironment,
  lastAttempt,
  readLog,
  removeTask,
  startTask,
  waitForTask,
  writeAtomically,
} from '../../processes/index.js';
import { carrierEnvironment } from '../../telemetry/environment.js';
import type { BuildOptions, ImageBuild, ImageBuilder } from './builder.js';
import { chooseFrontend } from './choose.js';
import {
  type Frontend,
  type FrontendName,
  type ImageOutput,
  LAYOUT,
  layoutDigest,
  unavailableBaseImage,
} from './frontends.js';

const LOG_TAIL_BYTES = 4096;
/** Builders have no state worth a long farewell. */
const GRACE_SECONDS = 5;

export interface LocalBuilderOptions {
  /** Everything lies below this directory. */
  readonly data: string;
  readonly builder: FrontendName | 'auto';
  readonly output: ImageOutput;
  readonly contexts: Readonly<Record<string, string>>;
  readonly storage: string;
  readonly insecureRegistry: boolean;
  readonly workloadTelemetry: Readonly<Record<string, string>>;
}

export class LocalImageBuilder implements ImageBuilder {
  constructor(private readonly options: LocalBuilderOptions) {}

  async check(): Promise<void> {
    await chooseFrontend(this.options.builder);
  }

  async build(build: ImageBuild, options: BuildOptions): Promise<BuiltImage> {
    const image = join(this.options.data, 'images', build.image, build.tag);
    if (!(await exists(image)) || this.options.output === 'registry') {
      await this.runBuilder(build, image, options);
    }
    const digest = await layoutDigestOr(image, build);
    const name = `${build.image}:${build.tag}`;
    return {
      name,
      digest,
      reference: `${name}@${digest}`,
      location: this.options.output === 'layout' ? `oci:${image}` : `docker://${name}@${digest}`,
    };
  }

  async stop(release: ReleaseId, { signal, report }: BuildOptions): Promise<void> {
    report('stopping the image build');
    const root = join(this.options.data, 'builds', release);
    for (const step of await readdir(root).catch(() => [])) {
      if (step.startsWith('step-')) await cancelTask(join(root, step), signal);
    }
    // An attempt that is still on its way finds its first step canceled, and starts nothing.
    await cancelTask(join(root, 'step-1'), signal);
  }

  private async runBuilder(
    build: ImageBuild,
    image: string,
    { signal, report }: BuildOptions,
  ): Promise<void> {
    const root = join(this.options.data, 'builds', build.release);
    const source = join(root, 'source');
    report('checking out the build context');
    if (!(await exists(source))) {
      const mirror = await Mirror.open(join(this.options.data, 'git'), build.repository);
      await mirror.fetchRef(build.commit, signal);
      await mirror.checkout(build.commit, source, signal);
    }
    const frontend = await chooseFrontend(this.options.builder);
    const attempt = join(root, 'out');
    await mkdir(attempt, { recursive: true });
    const paths = {
      context: join(source, build.context),
      model: modelDirectory(build.model?.uri ?? ''),
      attempt,
    };
    const commands = frontend.commands(build, paths, this.options);
    for (const [index, command] of commands.entries()) {
      await this.runStep(join(root, `step-${index + 1}`), command, build, frontend, { signal, report });
    }
    if (this.options.output === 'registry') {
      await mkdir(image, { recursive: true });
      const digest = await frontend.digest(attempt, this.options);
      await writeAtomically(
        join(image, 'index.json'),
        JSON.stringify({ schemaVersion: 2, manifests: [{ digest }] }),
      );
    } else {
      await layoutDigest(join(attempt, LAYOUT));
      await mkdir(join(image, '..'), { recursive: true });
      await rename(join(attempt, LAYOUT), image).catch(async (error) => {
        if (!(await exists(image))) throw error;
      });
    }
    // The context can be had again from git; the log stays for whoever asks.
    await rm(source, { recursive: true, force: true });
  }

  private async runStep(
    task: string,
    command: string[],
    build: ImageBuild,
    frontend: Frontend,
    { signal, report }: BuildOptions,
  ): Promise<void> {
    await startTask(task, {
      command,
      cwd: this.options.data,
      env: { ...builderEnvironment(), ...this.options.workloadTelemetry, ...carrierEnvironment(build.trace) },
      attemptPaths: {},
      attemptDirectories: [],
      expandReferences: false,
      attempts: 1,
      backoffSeconds: 0,
      graceSeconds: GRACE_SECONDS,
    });
    const stopped = new AbortController();
    const progress = async () => {
      for (;;) {
        report(`${frontend.name}: ${(await lastStep(task)) ?? 'starting'}`);
        await sleep(500, undefined, { signal: stopped.signal });
      }
    };
    progress().catch(() => undefined); // ends when stopped; a log that cannot be read is no reason to fail
    try {
      const status = await waitForTask(task, signal);
      if (status.state === 'succeeded') return;
      const log = (await lastAttempt(task))?.log ?? '';
      const tail = (await readLog(log, -LOG_TAIL_BYTES, LOG_TAIL_BYTES)).text.trimEnd();
      // A failed build may be tried again by another release or a retry: its trace on disk must not stop that.
      if (status.state !== 'canceled') await removeTask(task);
      const missing = unavailableBaseImage(tail);
      throw new ThroughlineError(
        missing ? 'TL_BASE_IMAGE_UNAVAILABLE' : 'TL_BUILD_FAILED',
        missing
          ? `A base image of ${build.dockerfile} cannot be had`
          : `${frontend.name} ended with ${exitOf(status)} while building ${build.image}`,
        { found: missing ?? `end of its log:\n${tail || '(nothing)'}` },
      );
    } finally {
      stopped.abort();
    }
  }
}

async function layoutDigestOr(image: string, build: ImageBuild) {
  try {
    return await layoutDigest(image);
  } catch (cause) {
    throw new ThroughlineError('TL_BUILD_FAILED', `The image of ${build.release} is damaged`, {
      found: image,
      hint: `Remove ${image} and trigger again.`,
      cause,
    });
  }
}

function modelDirectory(uri: string): string {
  if (!uri.startsWith('file://')) {
    throw new ThroughlineError('TL_MODEL_INVALID', 'The local builder cannot fetch this model', {
      expected: 'a model that the training left on this machine',
      found: uri,
    });
  }
  return fileURLToPath(uri);
}

function exitOf(status: { attempts: readonly { exitCode?: number | undefined }[]; state: string }): string {
  const code = status.attempts.at(-1)?.exitCode;
  if (status.state === 'canceled') return 'a cancellation';
  return code === undefined ? 'a kill' : `exit code ${code}`;
}

/** What builders read themselves: where BuildKit is, where registry credentials are. Nothing else passes (I9). */
function builderEnvironment(): Record<string, string> {
  const names = [
    'PATH',
    'HOME',
    'TMPDIR',
    'XDG_RUNTIME_DIR',
    'BUILDKIT_HOST',
    'DOCKER_HOST',
    'DOCKER_CONFIG',
    'DOCKER_CONTEXT',
    'BUILDX_BUILDER',
    'REGISTRY_AUTH_FILE',
    'SSL_CERT_FILE',
    'HTTP_PROXY',
    'HTTPS_PROXY',
    'NO_PROXY',
  ];
  return inheritedEnvironment(names);
}

async function lastStep(task: string): Promise<string | undefined> {
  const log = (await lastAttempt(task))?.log;
  if (!log) return undefined;
  const lines = (await readLog(log, -2048, 2048)).text.trimEnd().split('\n');
  return (
    lines
      .reverse()
      .find((line) => /STEP|^#\d+ \[/.test(line))
      ?.slice(0, 120) ?? lines[0]?.slice(0, 120)
  );
}
