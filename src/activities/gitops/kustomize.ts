// What a release changes in a kustomization: the image's entry in `images`, and in a patch the pods' annotations and MODEL_ID.
// The patch is a file of its own rather than text within the kustomization: it is edited, and shows in a diff, like any
// manifest, and its entry in the kustomization stays as it is from the first release on. What an existing patch of the
// workload says already is edited where it stands.
import { posix } from 'node:path';
import { ThroughlineError } from '../../domain/errors.js';
import type { KustomizeTarget } from '../../plan/index.js';
import { parseDocuments, valueAt } from './fields.js';
import {
  besides,
  imageFields,
  imagesOf,
  imageText,
  type Kustomization,
  listAt,
  type Patch,
  readKustomization,
} from './kustomization.js';
import {
  changeOf,
  type DesiredState,
  type Field,
  type FieldChange,
  HOLD_ANNOTATION,
  MODEL_VARIABLE,
  type OpenTarget,
  ownAnnotations,
  parseWorkload,
  type ReadFile,
  type WorkloadName,
} from './target.js';
import { envChanges, nameOf, podPlaceOf, textOf, variableIn } from './workloads.js';
import type { Path } from './yaml-edit.js';

const API_VERSIONS: Readonly<Record<string, string>> = {
  Rollout: 'argoproj.io/v1alpha1',
  InferenceService: 'serving.kserve.io/v1beta1',
};
const APPS = 'apps/v1';

export async function openKustomize(
  text: string,
  file: string,
  target: KustomizeTarget,
  read: ReadFile,
): Promise<OpenTarget> {
  const workload = parseWorkload(target.workload);
  const kustomization = await readKustomization(text, file, read);
  const ownName = `throughline-${workload.kind.toLowerCase()}-${workload.name}.yaml`;
  const ownFile = posix.join(posix.dirname(file), ownName);
  const written = await read(ownFile);
  const texts = new Map([
    ...kustomization.texts,
    ...(written === undefined ? [] : [[ownFile, written] as const]),
  ]);
  return new KustomizeFields(file, target, workload, kustomization, texts, ownName);
}

class KustomizeFields implements OpenTarget {
  /** Those of our workload, in the order of their application. */
  private readonly patches: readonly Patch[];

  constructor(
    private readonly file: string,
    private readonly target: KustomizeTarget,
    readonly workload: WorkloadName,
    private readonly kustomization: Kustomization,
    readonly texts: ReadonlyMap<string, string>,
    private readonly ownName: string,
  ) {
    this.patches = kustomization.patches.filter((patch) => isFor(patch, workload));
  }

  changes(desired: DesiredState): FieldChange[] {
    this.refuseOverridden(desired);
    return [...this.imageChanges(desired.image), ...this.patchChanges(desired)];
  }

  said() {
    const annotations = this.patches.map((patch) => ownAnnotations(valueAt(patch.value, this.annotations)));
    const models = this.patches.flatMap(({ value }) => variableIn(this.envOf(value), MODEL_VARIABLE) ?? []);
    const entry = imagesOf(this.kustomization.value).find(
      (one) => valueAt(one, ['name']) === this.target.image,
    );
    return {
      image: entry === undefined ? undefined : imageText(entry),
      modelId: models.at(-1),
      annotations: Object.assign({}, ...annotations) as Record<string, string>,
    };
  }

  /** In a patch of ours, or in `commonAnnotations`, where people put one for all that the kustomization has. */
  holds(): Field[] {
    const common = ['commonAnnotations', HOLD_ANNOTATION];
    const own = ['metadata', 'annotations', HOLD_ANNOTATION];
    const inPatches = this.patches.flatMap((patch) =>
      [own, [...this.annotations, HOLD_ANNOTATION]].map((path) => fieldOf(patch, path)),
    );
    return [
      fieldOf(this.home() ?? this.unlisted(), own),
      ...inPatches,
      { file: this.file, document: 0, path: common, value: valueAt(this.kustomization.value, common) },
    ];
  }

  prerequisites(): FieldChange[] {
    if (this.home()) return [];
    const file = this.ownFile();
    const { kind, name } = this.workload;
    const entry = { path: this.ownName, target: { kind, name } };
    const added = (to: string, path: Path, after: unknown) => ({
      file: to,
      document: 0,
      path,
      before: undefined,
      after,
    });
    const listed = listAt(this.kustomization.value, 'patches');
    const isNew = !this.texts.has(file);
    return [
      ...(listed.some((one) => valueAt(one, ['path']) === this.ownName)
        ? []
        : [added(this.file, ['patches', listed.length], entry)]),
      ...(isNew
        ? [
            added(file, ['apiVersion'], API_VERSIONS[kind] ?? APPS),
            added(file, ['kind'], kind),
            added(file, ['metadata', 'name'], name),
          ]
        : []),
    ];
  }

  private imageChanges(image: string): FieldChange[] {
    const file = this.file;
    const entries = imagesOf(this.kustomization.value);
    const own = entries.flatMap((entry, index) =>
      valueAt(entry, ['name']) === this.target.image ? [index] : [],
    );
    const [index, ...more] = own;
    if (more.length > 0) {
      throw new ThroughlineError(
        'TL_MANIFEST_AMBIGUOUS',
        `${file} has ${own.length} entries for the image ${this.target.image}`,
        {
          expected: 'one entry in `images` with this name',
          where: { file },
          hint: 'Leave one of the entries.',
        },
      );
    }
    if (index === undefined) {
      const name = this.target.image;
      const after = { name, ...imageFields({ name }, image) };
      return [{ file, document: 0, path: ['images', entries.length], before: undefined, after }];
    }
    const entry = entries[index];
    return Object.entries(imageFields(entry, image)).flatMap(([key, after]) =>
      changeOf({ file, document: 0, path: ['images', index, key], value: valueAt(entry, [key]) }, after),
    );
  }

  private patchChanges({ annotations, env }: DesiredState): FieldChange[] {
    const changes: FieldChange[] = [];
    const missing: { annotations: Record<string, string>; env: Record<string, string> } = {
      annotations: {},
      env: {},
    };
    for (const [name, after] of Object.entries(annotations)) {
      const path = [...this.annotations, name];
      const patch = this.patches.findLast(({ value }) => valueAt(value, path) !== undefined);
      if (patch) changes.push(...changeOf(fieldOf(patch, path), after));
      else missing.annotations[name] = after;
    }
    for (const [name, after] of Object.entries(env)) {
      const patch = this.patches.findLast(({ value }) => hasVariable(this.envOf(value), name));
      if (patch) changes.push(...this.envOfPatch(patch, { [name]: after }));
      else missing.env[name] = after;
    }
    const adds = Object.keys(missing.annotations).length > 0 || Object.keys(missing.env).length > 0;
    return adds ? [...changes, ...this.added(missing)] : changes;
  }

  /** What no patch says yet goes where the rest of ours is, or else into our own file. */
  private added({ annotations, env }: Pick<DesiredState, 'annotations' | 'env'>): FieldChange[] {
    const home = this.home() ?? this.unlisted();
    const changes = this.prerequisites();
    for (const [name, after] of Object.entries(annotations)) {
      changes.push(...changeOf(fieldOf(home, [...this.annotations, name]), after));
    }
    return [...changes, ...this.envOfPatch(home, env)];
  }

  private envOfPatch(patch: Patch, env: DesiredState['env']): FieldChange[] {
    const { container } = this.target;
    if (Object.keys(env).length === 0) return [];
    const found = podPlaceOf(patch.value)?.containers.find(({ name }) => name === container);
    if (found) return envChanges(fieldOf(patch, [...found.path, 'env']), container, env);
    this.refuseUnmergeable();
    const variables = Object.entries(env).map(([name, value]) => ({ name, value }));
    const containers = [...this.podSpec, 'containers'];
    const listed = valueAt(patch.value, containers);
    const index = Array.isArray(listed) ? listed.length : 0;
    const after = { name: container, env: variables };
    return changeOf({ ...fieldOf(patch, [...containers, index]), value: undefined }, after);
  }

  /** The last patch that says something of ours, or else the one that is our own. */
  private home(): Patch | undefined {
    const says = ({ value }: Patch) =>
      Object.keys(ownAnnotations(valueAt(value, this.annotations))).length > 0 ||
      hasVariable(this.envOf(value), MODEL_VARIABLE);
    return this.patches.findLast(says) ?? this.patches.find(({ file }) => file === this.ownFile());
  }

  /** Our own file where the kustomization does not list it: somebody has taken it out, or it is not there yet. */
  private unlisted(): Patch {
    const file = this.ownFile();
    const text = this.texts.get(file);
    const value = text === undefined ? {} : parseDocuments(text, file)[0];
    return { file, document: 0, at: [], value, target: undefined };
  }

  private envOf(value: unknown): unknown {
    const found = podPlaceOf(value)?.containers.find(({ name }) => name === this.target.container);
    return found && valueAt(value, [...found.path, 'env']);
  }

  private ownFile(): string {
    return besides(this.file, this.ownName) ?? this.ownName;
  }

  private get podSpec(): Path {
    return this.workload.kind === 'InferenceService' ? ['spec', 'predictor'] : ['spec', 'template', 'spec'];
  }

  private get annotations(): Path {
    return this.workload.kind === 'InferenceService'
      ? ['spec', 'predictor', 'annotations']
      : ['spec', 'template', 'metadata', 'annotations'];
  }

  /** Kustomize knows how lists of Kubernetes' own kinds are merged; of others it takes the patch's list in place of the base's. */
  private refuseUnmergeable(): void {
    const { kind } = this.workload;
    if (
      API_VERSIONS[kind] === undefined ||
      valueAt(this.kustomization.value, ['openapi', 'path']) !== undefined
    )
      return;
    throw new ThroughlineError(
      'TL_MANIFEST_INVALID',
      `Kustomize cannot merge the containers of a ${kind} without its schema`,
      {
        expected: '`openapi: { path: … }` in the kustomization, with the schema of the kind',
        where: { file: this.file },
        hint: `Add the schema (that of Argo Rollouts is in its documentation on Kustomize), or write ${MODEL_VARIABLE} into a patch of yours.`,
      },
    );
  }

  /** `commonAnnotations` are applied after the patches. */
  private refuseOverridden({ annotations }: DesiredState): void {
    const name = Object.keys(annotations).find(
      (one) => valueAt(this.kustomization.value, ['commonAnnotations', one]) !== undefined,
    );
    if (name === undefined) return;
    throw new ThroughlineError(
      'TL_MANIFEST_INVALID',
      `commonAnnotations of ${this.file} would override what a release writes`,
      {
        found: name,
        where: { file: this.file },
        hint: `Remove ${name} from commonAnnotations.`,
      },
    );
  }
}

function isFor({ value, target }: Patch, workload: WorkloadName): boolean {
  const said =
    target === undefined
      ? nameOf(value)
      : { kind: textOf(valueAt(target, ['kind'])), name: textOf(valueAt(target, ['name'])) };
  const isMap = typeof value === 'object' && value !== null && !Array.isArray(value);
  return isMap && said.name === workload.name && (said.kind ?? workload.kind) === workload.kind;
}

function fieldOf({ file, document, at, value }: Patch, path: Path): Field {
  return { file, document, path: [...at, ...path], value: valueAt(value, path) };
}

const hasVariable = (env: unknown, name: string): boolean =>
  Array.isArray(env) && env.some((variable) => valueAt(variable, ['name']) === name);
