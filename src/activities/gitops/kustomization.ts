// Reads a kustomization: the strategic-merge patches that it lists, wherever they are written.
import { posix } from 'node:path';
import { ThroughlineError } from '../../domain/errors.js';
import { parseDocuments, valueAt } from './fields.js';
import { formatImage, type ImageReference, parseImage, type ReadFile } from './target.js';
import { textOf } from './workloads.js';
import type { Path } from './yaml-edit.js';

export interface Patch {
  readonly file: string;
  readonly document: number;
  /** Where it is in that document: of an inline patch, the entry's text; of a file, its root. */
  readonly at: Path;
  readonly value: unknown;
  /** What the entry says that it is for; patches without are for what they name themselves. */
  readonly target: unknown;
}

export interface Kustomization {
  readonly value: unknown;
  /** In the order in which Kustomize applies them. */
  readonly patches: readonly Patch[];
  /** Files that were read, by path. */
  readonly texts: ReadonlyMap<string, string>;
}

/** Where a file that the kustomization names lies; undefined where that is no file of the repository. */
export function besides(kustomization: string, name: string): string | undefined {
  const path = posix.join(posix.dirname(kustomization), name);
  return posix.isAbsolute(name) || /^\.\.(?:\/|$)/.test(path) || name.includes('://') ? undefined : path;
}

export async function readKustomization(text: string, file: string, read: ReadFile): Promise<Kustomization> {
  const values = parseDocuments(text, file);
  const [value = null, ...more] = values;
  const kind = textOf(valueAt(value, ['kind'])) ?? 'Kustomization';
  if (more.length > 0 || Array.isArray(value) || !['Kustomization', 'Component'].includes(kind)) {
    throw new ThroughlineError('TL_MANIFEST_INVALID', `${file} is no kustomization`, {
      expected: 'one document of kind Kustomization',
      found: more.length > 0 ? `${values.length} documents` : kind,
      where: { file },
    });
  }
  const texts = new Map([[file, text]]);
  const patches: Patch[] = [];
  const take = async (at: Path, path: unknown, inline: unknown, target: unknown) => {
    const named = textOf(path);
    const beside = named === undefined ? undefined : besides(file, named);
    const patch = textOf(inline) ?? (beside === undefined ? undefined : await read(beside));
    if (patch === undefined) return;
    const inFile = inline === undefined && beside !== undefined;
    if (inFile) texts.set(beside, patch);
    documentsOf(patch).forEach((document, index, all) => {
      // Of an inline text one document alone has a place that can be named.
      if (!inFile && all.length > 1) return;
      patches.push({
        file: inFile ? beside : file,
        document: inFile ? index : 0,
        at: inFile ? [] : at,
        value: document,
        target,
      });
    });
  };
  // The older list is applied first (kustomize, api/internal/target/kusttarget_configplugin.go).
  for (const [index, entry] of listAt(value, 'patchesStrategicMerge').entries()) {
    const inline = typeof entry === 'string' && /\n|^\s*\{/.test(entry);
    await take(
      ['patchesStrategicMerge', index],
      inline ? undefined : entry,
      inline ? entry : undefined,
      undefined,
    );
  }
  for (const [index, entry] of listAt(value, 'patches').entries()) {
    const at = ['patches', index, 'patch'];
    await take(at, valueAt(entry, ['path']), valueAt(entry, ['patch']), valueAt(entry, ['target']));
  }
  return { value, patches, texts };
}

/** An entry of `images`, as the reference that it makes of an image of its name. */
export function imageOf(entry: unknown): ImageReference {
  const field = (name: string) => textOf(valueAt(entry, [name])) || undefined;
  return {
    repository: field('newName') ?? field('name') ?? '',
    tag: field('newTag'),
    digest: field('digest'),
  };
}

export const imagesOf = (kustomization: unknown): readonly unknown[] => listAt(kustomization, 'images');

/** The changes of an entry's fields that make it pin an image; an image without a tag leaves the tag alone. */
export function imageFields(entry: unknown, image: string): Record<string, string> {
  const { repository, tag, digest } = parseImage(image);
  const renamed = repository !== (valueAt(entry, ['newName']) ?? valueAt(entry, ['name']));
  return {
    ...(renamed ? { newName: repository } : {}),
    ...(tag ? { newTag: tag } : {}),
    ...(digest ? { digest } : {}),
  };
}

export const imageText = (entry: unknown): string => formatImage(imageOf(entry));

export function listAt(value: unknown, key: string): readonly unknown[] {
  const list = valueAt(value, [key]);
  return Array.isArray(list) ? list : [];
}

/** Of a patch that cannot be read nothing is known: Kustomize will say what it thinks of it. */
function documentsOf(text: string): unknown[] {
  try {
    return parseDocuments(text, '');
  } catch {
    return [];
  }
}
