// The port of building: something that makes an image of a context and a model, once a release, whatever dies.
import type { CommitSha, Digest, ReleaseId } from '../../domain/ids.js';
import type { BuiltImage } from '../../domain/release.js';
import type { TraceCarrier } from '../../domain/trace.js';

/** Everything that an image is made of. Serializable: it comes out of the workflow's history. */
export interface ImageBuild {
  readonly release: ReleaseId;
  readonly repository: string;
  readonly commit: CommitSha;
  /** Directory of the context, from the root of the repository. */
  readonly context: string;
  /** From the context. */
  readonly dockerfile: string;
  /** The image's name, without tag. */
  readonly image: string;
  readonly tag: string;
  readonly arguments: Readonly<Record<string, string>>;
  /** OCI annotations of the manifest and labels of the configuration: the same on both. */
  readonly annotations: Readonly<Record<string, string>>;
  /** The named context `model`; the trainer’s own image has none. */
  readonly model?: { readonly uri: string; readonly digest: Digest } | undefined;
  /** Seconds since 1970: every time inside the image, so that the same build makes the same digest. */
  readonly createdAt: number;
  readonly trace: TraceCarrier;
}

export interface BuildOptions {
  readonly signal: AbortSignal;
  /** Called with what is being done, in a person's words. */
  readonly report: (doing: string) => void;
}

export interface ImageBuilder {
  /** Throws TL_TOOL_MISSING where nothing here can build. Touches nothing. */
  check(): Promise<void>;
  /** Builds the image, or finds it built. Aborting leaves a running build to the next attempt. */
  build(build: ImageBuild, options: BuildOptions): Promise<BuiltImage>;
  /** Ends the build of a release, if there is one; returns when nothing of it is left (I6). */
  stop(release: ReleaseId, options: BuildOptions): Promise<void>;
}
