// What a release changes in a GitOps repository, as data: where it goes (the plan's deploy entry), what is to stand there,
// and field by field what that changes.
import type { HelmTarget, KustomizeTarget } from '../../plan/index.js';
import { ATTR, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../../telemetry/attributes.js';
import type { Path } from './yaml-edit.js';

/** Tells a service which model it serves. */
export const MODEL_VARIABLE = 'MODEL_ID';
export const RELEASE_ANNOTATION = `${RESOURCE_ANNOTATION_PREFIX}${ATTR.pipelineRunId}`;
export const MODEL_ANNOTATION = `${RESOURCE_ANNOTATION_PREFIX}${ATTR.modelId}`;
/** Keeps releases away from a target; its value says why. */
export const HOLD_ANNOTATION = 'throughline.dev/hold';

/** Where a release goes in a GitOps repository: what the plan's `deploy` entry says of it. */
export interface DeployTarget {
  /** The manifest, kustomization or values file, relative to the repository's root. */
  readonly manifest: string;
  /** Of the workload in a plain manifest. */
  readonly container?: string | undefined;
  readonly kustomize?: KustomizeTarget | undefined;
  readonly helm?: HelmTarget | undefined;
}

/** What is to stand there. */
export interface DesiredState {
  /** `repository:tag@sha256:…` */
  readonly image: string;
  readonly env: Readonly<Record<string, string>>;
  /** Of the pods. */
  readonly annotations: Readonly<Record<string, string>>;
}

/** A file whose text changes, or that would be created; its path is relative to the repository's root. */
export interface FileEdit {
  readonly path: string;
  readonly text: string;
}

/** Reads a file of the repository. Undefined: there is no such file. */
export type ReadFile = (path: string) => Promise<string | undefined>;

/** One value that changes: undefined before where it is added, after where it is removed. */
export interface FieldChange {
  readonly file: string;
  /** Which of the file's documents, from 0. */
  readonly document: number;
  /** Keys and indices; they may lead on into a text that is YAML itself, such as an inline patch. */
  readonly path: Path;
  readonly before: unknown;
  readonly after: unknown;
}

/** What our fields say, whoever wrote them; what is not there is absent. */
export interface SaidFields {
  readonly image: string | undefined;
  readonly modelId: string | undefined;
  /** Those that releases write, of the pods. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface WorkloadName {
  readonly kind: string;
  readonly name: string;
}

/** `Deployment/digits`, as a plan has it. */
export function parseWorkload(workload: string): WorkloadName {
  const [kind = '', name = ''] = workload.split('/', 2);
  return { kind, name };
}

/** A place in the target's files, and what stands there. */
export interface Field {
  readonly file: string;
  readonly document: number;
  readonly path: Path;
  readonly value: unknown;
}

/** A target whose files were read: one implementation for each way in which workloads are written. */
export interface OpenTarget {
  readonly workload: WorkloadName;
  /** The files that were read, and are edited. */
  readonly texts: ReadonlyMap<string, string>;
  /** What of the desired state does not stand there yet. */
  changes(desired: DesiredState): readonly FieldChange[];
  said(): SaidFields;
  /** Where the hold annotation may stand, the first of all being where it is written if it stands nowhere. */
  holds(): readonly Field[];
  /** What has to be there besides, so that what is written in that first place takes effect. */
  prerequisites(): readonly FieldChange[];
}

/** The change that makes a field what it is to be; none where it is that already. */
export function changeOf({ file, document, path, value }: Field, after: unknown): FieldChange[] {
  return value === after ? [] : [{ file, document, path, before: value, after }];
}

/** Those of a map of annotations that releases write, as texts. */
export function ownAnnotations(annotations: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(annotations && typeof annotations === 'object' ? annotations : {})
      .filter(([name]) => name === TRACE_ANNOTATION || name.startsWith(RESOURCE_ANNOTATION_PREFIX))
      .map(([name, value]) => [name, String(value)]),
  );
}

export interface ImageReference {
  readonly repository: string;
  readonly tag: string | undefined;
  readonly digest: string | undefined;
}

/** `repository:tag@sha256:…`, any of the last two absent. */
export function parseImage(image: string): ImageReference {
  const [name = '', digest] = image.split('@', 2);
  const tag = /:([^:/]+)$/.exec(name)?.[1];
  return { repository: tag === undefined ? name : name.slice(0, -tag.length - 1), tag, digest };
}

export function formatImage({ repository, tag, digest }: ImageReference): string {
  return `${repository}${tag ? `:${tag}` : ''}${digest ? `@${digest}` : ''}`;
}
