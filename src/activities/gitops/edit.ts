// Edits a deploy target, whatever it is written as: a plain manifest, a kustomization, or the values of a Helm chart. Every
// change is data first (file, document, path, old and new value), and is made in the text then, so that whatever others
// wrote elsewhere in the same files stays as it is.
import { ThroughlineError } from '../../domain/errors.js';
import { applyChanges } from './fields.js';
import { openValues } from './helm.js';
import { openKustomize } from './kustomize.js';
import { openManifest } from './manifest.js';
import {
  type DeployTarget,
  type DesiredState,
  type FieldChange,
  type FileEdit,
  type OpenTarget,
  parseWorkload,
  type ReadFile,
  type SaidFields,
  type WorkloadName,
} from './target.js';

export {
  type DeployTarget,
  type DesiredState,
  type FieldChange,
  type FileEdit,
  HOLD_ANNOTATION,
  type ReadFile,
  type SaidFields,
  type WorkloadName,
} from './target.js';

/**
 * The target's files with the desired state written in: those whose text changes, or that are new. Applied again it changes
 * nothing. Throws TL_FILE_NOT_FOUND, TL_MANIFEST_* where it cannot be made.
 */
export async function editTarget(
  target: DeployTarget,
  desired: DesiredState,
  read: ReadFile,
): Promise<readonly FileEdit[]> {
  const open = await openTarget(target, read);
  return edited(open, open.changes(desired));
}

/** What {@link editTarget} would change, field by field. */
export async function fieldChanges(
  target: DeployTarget,
  desired: DesiredState,
  read: ReadFile,
): Promise<readonly FieldChange[]> {
  const open = await openTarget(target, read);
  const changes = open.changes(desired);
  edited(open, changes); // what could not be made is no change
  return changes;
}

/** What our fields say now, whoever wrote them. */
export async function fieldsOf(target: DeployTarget, read: ReadFile): Promise<SaidFields> {
  return (await openTarget(target, read)).said();
}

/** The files in which the target's fields are written, or may be: the manifest, and the patches that a kustomization lists. */
export async function filesOf(target: DeployTarget, read: ReadFile): Promise<readonly string[]> {
  return [...(await openTarget(target, read)).texts.keys()];
}

/** Why releases are to stay away from the target: the value of its hold annotation. Undefined where there is none. */
export async function holdOf(target: DeployTarget, read: ReadFile): Promise<string | undefined> {
  const held = (await openTarget(target, read)).holds().find(({ value }) => isSet(value));
  return held && String(held.value);
}

/** Sets the hold annotation, where it stands already if it does; without a hold, removes it wherever it stands. */
export async function editHold(
  target: DeployTarget,
  hold: string | undefined,
  read: ReadFile,
): Promise<readonly FileEdit[]> {
  const open = await openTarget(target, read);
  const places = open.holds();
  const standing = places.filter(({ value, ...place }, index) => {
    const first = places.findIndex((other) => other.file === place.file && samePath(other.path, place.path));
    return value !== undefined && first === index;
  });
  if (hold === undefined) {
    return edited(
      open,
      standing.map(({ value: before, ...place }) => ({ ...place, before, after: undefined })),
    );
  }
  const place = standing.find(({ value }) => isSet(value)) ?? standing[0] ?? places[0];
  if (!place || place.value === hold) return [];
  const { value: before, ...at } = place;
  return edited(open, [
    ...(before === undefined ? open.prerequisites() : []),
    { ...at, before, after: hold },
  ]);
}

/**
 * The workload that serves the target's model, as a plain manifest or else the plan names it: Kustomize and Helm may put
 * something before or behind.
 */
export async function workloadOf(target: DeployTarget, read: ReadFile): Promise<WorkloadName> {
  const named = target.kustomize ?? target.helm;
  if (named) return parseWorkload(named.workload);
  return (await openTarget(target, read)).workload;
}

async function openTarget(target: DeployTarget, read: ReadFile): Promise<OpenTarget> {
  const { manifest, container = '', kustomize, helm } = target;
  const text = await read(manifest);
  if (text === undefined) {
    throw new ThroughlineError('TL_FILE_NOT_FOUND', `The GitOps repository has no file ${manifest}`, {
      expected: 'the manifest that `deploy` names in the plan',
    });
  }
  if (kustomize) return openKustomize(text, manifest, kustomize, read);
  if (helm) return openValues(text, manifest, helm);
  return openManifest(text, manifest, container);
}

function edited({ texts }: OpenTarget, changes: readonly FieldChange[]): FileEdit[] {
  const files = [...new Set(changes.map(({ file }) => file))];
  return files.flatMap((path) => {
    const before = texts.get(path);
    const text = applyChanges(
      before,
      path,
      changes.filter(({ file }) => file === path),
    );
    return text === before ? [] : [{ path, text }];
  });
}

/** `throughline.dev/hold:` with nothing behind it holds nothing. */
const isSet = (value: unknown): boolean => value !== undefined && value !== null && value !== '';

const samePath = (one: readonly unknown[], other: readonly unknown[]): boolean =>
  JSON.stringify(one) === JSON.stringify(other);
