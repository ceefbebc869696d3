// What a release changes in a file of Helm values, at the paths that the plan names: the chart alone knows what they mean.
import { ThroughlineError } from '../../domain/errors.js';
import { type HelmTarget, parseValuesPath } from '../../plan/index.js';
import { parseDocuments, valueAt } from './fields.js';
import {
  changeOf,
  type DesiredState,
  type Field,
  type FieldChange,
  formatImage,
  HOLD_ANNOTATION,
  MODEL_VARIABLE,
  type OpenTarget,
  ownAnnotations,
  parseImage,
  parseWorkload,
  type SaidFields,
} from './target.js';
import { envChanges, textOf, variableIn } from './workloads.js';
import type { Path } from './yaml-edit.js';

/** A file of values. Throws where it is no map of values. */
export function openValues(text: string, file: string, target: HelmTarget): OpenTarget {
  const [values = null, ...more] = parseDocuments(text, file);
  if (more.length > 0 || (values !== null && (typeof values !== 'object' || Array.isArray(values)))) {
    throw new ThroughlineError('TL_MANIFEST_INVALID', `${file} has no values for Helm`, {
      expected: 'one document, a map',
      found: more.length > 0 ? `${more.length + 1} documents` : textOf(values),
      where: { file },
    });
  }
  const fieldAt = (path: Path): Field => ({ file, document: 0, path, value: valueAt(values, path) });
  const annotations = parseValuesPath(target.annotations);
  return {
    workload: parseWorkload(target.workload),
    texts: new Map([[file, text]]),
    changes: (desired) => [
      ...imageParts(target.image, desired.image).flatMap(([path, after]) => changeOf(fieldAt(path), after)),
      ...Object.entries(desired.annotations).flatMap(([key, after]) =>
        changeOf(fieldAt([...annotations, key]), after),
      ),
      ...environment(target, desired.env, fieldAt),
    ],
    said: () => ({
      image: imageSaid(target.image, (path) => textOf(valueAt(values, path)) || undefined),
      modelId: modelSaid(target, fieldAt),
      annotations: ownAnnotations(valueAt(values, annotations)),
    }),
    // Charts have no other map of annotations in common.
    holds: () => [fieldAt([...annotations, HOLD_ANNOTATION])],
    prerequisites: () => [],
  };
}

/** What is to stand at which path. Without a path for the digest it goes with the tag, as `tag@sha256:…`. */
function imageParts(image: HelmTarget['image'], reference: string): [Path, string][] {
  if (typeof image === 'string') return [[parseValuesPath(image), reference]];
  const { repository, tag, digest } = parseImage(reference);
  const slash = repository.indexOf('/');
  const part = (path: string | undefined, value: string | undefined): [Path, string][] =>
    path === undefined || value === undefined ? [] : [[parseValuesPath(path), value]];
  return [
    ...part(image.registry, repository.slice(0, Math.max(slash, 0))),
    ...part(image.repository, image.registry === undefined ? repository : repository.slice(slash + 1)),
    ...part(image.tag, image.digest === undefined && digest ? `${tag ?? 'latest'}@${digest}` : tag),
    ...part(image.digest, digest),
  ];
}

function imageSaid(image: HelmTarget['image'], at: (path: Path) => string | undefined): SaidFields['image'] {
  if (typeof image === 'string') return at(parseValuesPath(image));
  const part = (path: string | undefined) => (path === undefined ? undefined : at(parseValuesPath(path)));
  const repository = part(image.repository);
  if (repository === undefined) return undefined;
  const registry = part(image.registry);
  return formatImage({
    repository: registry === undefined ? repository : `${registry}/${repository}`,
    tag: part(image.tag),
    digest: part(image.digest),
  });
}

function environment(
  { modelId, env, container }: HelmTarget,
  desired: DesiredState['env'],
  fieldAt: (path: Path) => Field,
): FieldChange[] {
  if (modelId !== undefined) {
    const id = desired[MODEL_VARIABLE];
    return id === undefined ? [] : changeOf(fieldAt(parseValuesPath(modelId)), id);
  }
  const field = fieldAt(parseValuesPath(env ?? ''));
  const isMap = typeof field.value === 'object' && field.value !== null && !Array.isArray(field.value);
  if (!isMap) return envChanges(field, container, desired);
  return Object.entries(desired).flatMap(([name, after]) => changeOf(fieldAt([...field.path, name]), after));
}

function modelSaid({ modelId, env }: HelmTarget, fieldAt: (path: Path) => Field): string | undefined {
  if (modelId !== undefined) return textOf(fieldAt(parseValuesPath(modelId)).value);
  return variableIn(fieldAt(parseValuesPath(env ?? '')).value, MODEL_VARIABLE);
}
