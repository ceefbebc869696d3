// Where workloads keep what a release changes: the annotations of their pods, and their containers. Pure.
import { ThroughlineError } from '../../domain/errors.js';
import { valueAt } from './fields.js';
import {
  changeOf,
  type DesiredState,
  type Field,
  type FieldChange,
  MODEL_VARIABLE,
  ownAnnotations,
  type SaidFields,
  type WorkloadName,
} from './target.js';
import type { Path } from './yaml-edit.js';

/** What KServe calls the predictor's container where nobody names it (its constants.InferenceServiceContainerName). */
const KSERVE_CONTAINER = 'kserve-container';

export interface ContainerPlace {
  readonly name: string;
  readonly path: Path;
}

/** Where a workload's pods are described. */
export interface PodPlace {
  readonly annotations: Path;
  readonly containers: readonly ContainerPlace[];
}

/** A container of a workload in a file. */
export interface ContainerInFile extends WorkloadName {
  readonly document: number;
  readonly annotations: Path;
  readonly container: ContainerPlace;
}

/**
 * Where the pods of a workload are described. KServe merges `spec.predictor.annotations` over those of the service's metadata
 * into its pods', and makes `spec.predictor.model` a container (serving.kserve.io/v1beta1, ComponentExtensionSpec).
 */
export function podPlaceOf(value: unknown): PodPlace | undefined {
  if (valueAt(value, ['kind']) === 'InferenceService') {
    const predictor = ['spec', 'predictor'];
    const model = valueAt(value, [...predictor, 'model']);
    const containers = [
      ...containersAt(value, [...predictor, 'containers'], KSERVE_CONTAINER),
      ...(typeof model === 'object' && model !== null
        ? [{ name: nameIn(model) ?? KSERVE_CONTAINER, path: [...predictor, 'model'] }]
        : []),
    ];
    return containers.length > 0 ? { annotations: [...predictor, 'annotations'], containers } : undefined;
  }
  const template = ['spec', 'template'];
  if (!Array.isArray(valueAt(value, [...template, 'spec', 'containers']))) return undefined;
  return {
    annotations: [...template, 'metadata', 'annotations'],
    containers: containersAt(value, [...template, 'spec', 'containers']),
  };
}

/** The one workload with the container. Throws where there is none, or more than one. */
export function findContainer(values: readonly unknown[], file: string, container: string): ContainerInFile {
  const found: ContainerInFile[] = [];
  const others: string[] = [];
  values.forEach((value, document) => {
    const pods = podPlaceOf(value);
    for (const candidate of pods?.containers ?? []) {
      if (pods && candidate.name === container)
        found.push({ ...nameOf(value), document, annotations: pods.annotations, container: candidate });
      else if (candidate.name) others.push(`${candidate.name} (${titleOf(nameOf(value))})`);
    }
  });
  const [first, ...more] = found;
  if (!first) {
    const hint = values.flatMap((value) => unsuitable(value) ?? [])[0];
    throw new ThroughlineError(
      'TL_MANIFEST_CONTAINER_MISSING',
      `No workload in ${file} has a container named ${JSON.stringify(container)}`,
      {
        expected: `a Deployment or another workload with a container ${container}`,
        found: others.length > 0 ? `containers: ${others.join(', ')}` : (hint?.found ?? 'no workload at all'),
        where: { file },
        ...(hint ? { hint: hint.hint } : {}),
      },
    );
  }
  if (more.length > 0) {
    throw new ThroughlineError(
      'TL_MANIFEST_AMBIGUOUS',
      `${found.length} workloads in ${file} have a container named ${JSON.stringify(container)}`,
      { found: found.map(titleOf).join(', '), where: { file } },
    );
  }
  return first;
}

/** The changes that bring the desired state into a workload. */
export function workloadChanges(
  value: unknown,
  file: string,
  { document, annotations, container }: Pick<ContainerInFile, 'document' | 'annotations' | 'container'>,
  desired: DesiredState,
): FieldChange[] {
  const field = (path: Path): Field => ({ file, document, path, value: valueAt(value, path) });
  return [
    ...Object.entries(desired.annotations).flatMap(([name, after]) =>
      changeOf(field([...annotations, name]), after),
    ),
    ...changeOf(field([...container.path, 'image']), desired.image),
    ...envChanges(field([...container.path, 'env']), container.name, desired.env),
  ];
}

/** The changes that set variables in an `env` as Kubernetes has it; it may not be there yet. */
export function envChanges(
  { file, document, path, value }: Field,
  container: string,
  env: DesiredState['env'],
): FieldChange[] {
  const list: readonly unknown[] = Array.isArray(value) ? value : [];
  let added = 0;
  return Object.entries(env).flatMap(([name, after]) => {
    // Of several with one name Kubernetes takes the last.
    const position = list.findLastIndex((variable) => nameIn(variable) === name);
    if (position < 0) {
      const at = [...path, list.length + added++];
      return [{ file, document, path: at, before: undefined, after: { name, value: after } }];
    }
    if (valueAt(list[position], ['valueFrom']) != null) {
      throw new ThroughlineError(
        'TL_MANIFEST_INVALID',
        `${file} cannot be edited: ${name} of ${container} comes from elsewhere`,
        {
          expected: `a value for ${name}`,
          found: 'valueFrom',
          where: { file },
          hint: `Give ${name} a value in place of valueFrom, or leave it out.`,
        },
      );
    }
    const at = [...path, position, 'value'];
    return changeOf({ file, document, path: at, value: valueAt(list[position], ['value']) }, after);
  });
}

/** What a workload says in our fields. */
export function workloadSays(value: unknown, annotations: Path, container: ContainerPlace): SaidFields {
  return {
    image: textOf(valueAt(value, [...container.path, 'image'])),
    modelId: variableIn(valueAt(value, [...container.path, 'env']), MODEL_VARIABLE),
    annotations: ownAnnotations(valueAt(value, annotations)),
  };
}

/** A variable of an `env`, which charts have as a map, too. */
export function variableIn(env: unknown, name: string): string | undefined {
  if (!Array.isArray(env)) return textOf(valueAt(env, [name]));
  return textOf(
    valueAt(
      env.findLast((variable) => nameIn(variable) === name),
      ['value'],
    ),
  );
}

export function textOf(value: unknown): string | undefined {
  return value === undefined || value === null || typeof value === 'object' ? undefined : String(value);
}

export function nameOf(value: unknown): WorkloadName {
  return {
    kind: textOf(valueAt(value, ['kind'])) ?? '',
    name: textOf(valueAt(value, ['metadata', 'name'])) ?? '',
  };
}

const titleOf = ({ kind, name }: WorkloadName): string => `${kind || 'workload'}/${name || '?'}`;

function nameIn(value: unknown): string | undefined {
  return textOf(valueAt(value, ['name']));
}

function containersAt(value: unknown, path: Path, unnamed = ''): ContainerPlace[] {
  const list = valueAt(value, path);
  if (!Array.isArray(list)) return [];
  return list.map((container, index) => ({ name: nameIn(container) ?? unnamed, path: [...path, index] }));
}

/** Why a document that looks like a workload is none that a release can be written into. */
function unsuitable(value: unknown): { found: string; hint: string } | undefined {
  const title = titleOf(nameOf(value));
  const reference = valueAt(value, ['spec', 'workloadRef']);
  if (reference) {
    const of = `${textOf(valueAt(reference, ['kind'])) ?? 'Deployment'}/${nameIn(reference) ?? '?'}`;
    return {
      found: `${title}, whose pods ${of} describes (workloadRef)`,
      hint: `Name the manifest that has ${of}, whose pod template the Rollout takes.`,
    };
  }
  if (valueAt(value, ['spec', 'jobTemplate'])) {
    return {
      found: `${title}, which serves nothing`,
      hint: 'Name a workload that stays: a Deployment, StatefulSet, DaemonSet, Rollout or InferenceService.',
    };
  }
  if (valueAt(value, ['kind']) === 'InferenceService') {
    return {
      found: `${title} without predictor.containers and predictor.model`,
      hint: `Describe the model server in spec.predictor.containers or spec.predictor.model.`,
    };
  }
  if (valueAt(value, ['images']) || valueAt(value, ['kind']) === 'Kustomization') {
    return {
      found: 'a kustomization',
      hint: 'Say in the plan how it is to be edited: `kustomize` in place of `container`.',
    };
  }
  return undefined;
}
