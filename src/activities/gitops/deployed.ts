// What files of a GitOps repository deploy, as far as it can be read without a plan: somebody may have written anything.
import { parseAllDocuments } from 'yaml';
import { digestOf } from '../../domain/ids.js';
import type { Container, PodTemplate } from '../../kubernetes/objects.js';
import { valueAt } from './fields.js';
import { imagesOf, imageText, readKustomization } from './kustomization.js';
import { MODEL_VARIABLE, RELEASE_ANNOTATION, type ReadFile } from './target.js';
import { podPlaceOf, textOf, variableIn } from './workloads.js';

/** A pod template of a manifest, and what it says that it is: the release of its annotation, the digests of its images. */
export interface DeployedTemplate {
  readonly template: PodTemplate;
  readonly release: string | undefined;
  readonly digests: readonly string[];
  /** False where the file need not name the model: a chart may have it under any name. */
  readonly namesModel?: boolean;
}

/** What the workloads of a manifest deploy. */
export function deployedIn(text: string): DeployedTemplate[] {
  return readable(text).flatMap((value) => {
    const pods = podPlaceOf(value);
    if (!pods) return [];
    const containers = pods.containers.map(({ name, path }) => ({
      name,
      ...imageAndEnv(valueAt(value, path)),
    }));
    return [deployed(valueAt(value, pods.annotations), containers)];
  });
}

/** What a manifest, a kustomization or a file of values deploys; nothing where it is not there. */
export async function deployedBy(file: string, read: ReadFile): Promise<DeployedTemplate[]> {
  const text = await read(file);
  if (text === undefined) return [];
  const found = deployedIn(text);
  if (found.length > 0) return found;
  const [value] = readable(text);
  if (/(?:^|\/)[Kk]ustomization(?:\.ya?ml)?$/.test(file)) return deployedByKustomization(text, file, read);
  return valueAt(value, ['apiVersion']) === undefined ? deployedByValues(value) : [];
}

/** Which image is whose a kustomization does not say: each patch is taken with all of them. */
async function deployedByKustomization(
  text: string,
  file: string,
  read: ReadFile,
): Promise<DeployedTemplate[]> {
  const { value, patches } = await readKustomization(text, file, read).catch(() => ({
    value: null,
    patches: [],
  }));
  const images = imagesOf(value).map(imageText);
  const found = patches.flatMap(({ value: patch }) => {
    const pods = podPlaceOf(patch);
    const annotations = pods && valueAt(patch, pods.annotations);
    if (!pods || !annotations) return [];
    const env = pods.containers.flatMap(({ path }) => imageAndEnv(valueAt(patch, path)).env);
    return [
      deployed(
        annotations,
        images.map((image) => ({ name: image, image, env })),
      ),
    ];
  });
  return found.length > 0 || images.length === 0
    ? found
    : [
        deployed(
          {},
          images.map((image) => ({ name: image, image, env: [] })),
        ),
      ];
}

/** Values have no shape: what is pinned in them is deployed, with the annotations that stand near it. */
function deployedByValues(values: unknown): DeployedTemplate[] {
  const images: string[] = [];
  const annotated: unknown[] = [];
  const models: string[] = [];
  walk(values, (map) => {
    if (RELEASE_ANNOTATION in map) annotated.push(map);
    const model = variableIn(map, MODEL_VARIABLE);
    if (model !== undefined) models.push(model);
    for (const value of Object.values(map)) {
      const model = Array.isArray(value) ? variableIn(value, MODEL_VARIABLE) : undefined;
      if (model !== undefined) models.push(model);
      if (typeof value !== 'string' || !digestOf(value)) continue;
      const repository = [textOf(map.registry), textOf(map.repository)].filter(Boolean).join('/');
      images.push(value.includes('/') || !repository ? value : `${repository}@${digestOf(value)}`);
    }
  });
  const env = models.slice(0, 1).map((value) => ({ name: MODEL_VARIABLE, value }));
  const containers = images.map((image) => ({ name: image, image, env }));
  if (containers.length === 0 && annotated.length === 0) return [];
  return (annotated.length > 0 ? annotated : [{}]).map((annotations) => ({
    ...deployed(annotations, containers),
    namesModel: models.length > 0,
  }));
}

function walk(value: unknown, visit: (map: Readonly<Record<string, unknown>>) => void): void {
  if (typeof value !== 'object' || value === null) return;
  if (!Array.isArray(value)) visit(value as Record<string, unknown>);
  for (const inner of Object.values(value)) walk(inner, visit);
}

function deployed(annotations: unknown, containers: readonly Container[]): DeployedTemplate {
  const texts = Object.entries(annotations && typeof annotations === 'object' ? annotations : {}).map(
    ([name, value]) => [name, String(value)] as const,
  );
  return {
    template: { metadata: { annotations: Object.fromEntries(texts) }, spec: { containers } },
    release: textOf(valueAt(annotations, [RELEASE_ANNOTATION])),
    digests: containers.flatMap(({ image }) => digestOf(image) ?? []),
  };
}

/** As Kubernetes would take it: texts where there are to be texts. */
function imageAndEnv(container: unknown): { image: string; env: { name: string; value?: string }[] } {
  const env = valueAt(container, ['env']);
  return {
    image: textOf(valueAt(container, ['image'])) ?? '',
    env: (Array.isArray(env) ? env : []).map((variable) => {
      const value = textOf(valueAt(variable, ['value']));
      return { name: textOf(valueAt(variable, ['name'])) ?? '', ...(value === undefined ? {} : { value }) };
    }),
  };
}

function readable(text: string): unknown[] {
  const documents = parseAllDocuments(text, { merge: true });
  return ('empty' in documents ? [] : documents).flatMap((document) =>
    document.errors.length > 0 ? [] : [document.toJS() as unknown],
  );
}
