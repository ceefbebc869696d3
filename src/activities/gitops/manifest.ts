// What a release changes in a GitOps manifest, and nothing else (DESIGN §4, GitOps): the pod template's annotations, the
// container's image, and MODEL_ID in its environment.
import { isDeepStrictEqual } from 'node:util';
import { LineCounter, parseAllDocuments } from 'yaml';
import { type Location, ThroughlineError } from '../../domain/errors.js';
import { digestOf } from '../../domain/ids.js';
import type { PodTemplate } from '../../kubernetes/objects.js';
import { ATTR, RESOURCE_ANNOTATION_PREFIX } from '../../telemetry/attributes.js';
import { UneditableYaml, YamlText } from './yaml-edit.js';

/** Tells a service which model it serves. */
export const MODEL_VARIABLE = 'MODEL_ID';

const RELEASE_ANNOTATION = `${RESOURCE_ANNOTATION_PREFIX}${ATTR.pipelineRunId}`;

export interface ManifestChange {
  readonly container: string;
  /** `repository:tag@sha256:…` */
  readonly image: string;
  readonly env: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Workload {
  readonly document: number;
  readonly container: number;
}

/** As somebody has written it. */
interface WrittenTemplate {
  metadata?: { annotations?: Record<string, string> | null } | null;
  spec?: {
    containers?: ({
      name?: string;
      image?: string;
      env?: { name?: string; value?: unknown; valueFrom?: unknown }[] | null;
    } | null)[];
  };
}

const TEMPLATE = ['spec', 'template'] as const;

/** Checks that the manifest has one workload with the container. Throws what {@link editManifest} would. */
export function findWorkload(text: string, file: string, container: string): Workload {
  const values = parseManifest(text, file);
  const found: (Workload & { name: string })[] = [];
  const others: string[] = [];
  values.forEach((value, document) => {
    const template = podTemplate(value);
    template?.spec?.containers?.forEach((candidate, index) => {
      if (candidate?.name === container) found.push({ document, container: index, name: nameOf(value) });
      else if (candidate?.name) others.push(`${candidate.name} (${nameOf(value)})`);
    });
  });
  const [first, ...more] = found;
  if (!first) {
    throw new ThroughlineError(
      'TL_MANIFEST_CONTAINER_MISSING',
      `No workload in ${file} has a container named ${JSON.stringify(container)}`,
      {
        expected: `a Deployment or another workload with a container ${container}`,
        found: others.length > 0 ? `containers: ${others.join(', ')}` : 'no workload at all',
        where: { file },
      },
    );
  }
  if (more.length > 0) {
    throw new ThroughlineError(
      'TL_MANIFEST_AMBIGUOUS',
      `${found.length} workloads in ${file} have a container named ${JSON.stringify(container)}`,
      { found: found.map(({ name }) => name).join(', '), where: { file } },
    );
  }
  return first;
}

/** The workload that the container belongs to, as Kubernetes names it. */
export function workloadOf(text: string, file: string, container: string): { kind: string; name: string } {
  const value = parseManifest(text, file)[findWorkload(text, file, container).document] as {
    kind?: unknown;
    metadata?: { name?: unknown } | null;
  };
  return { kind: String(value.kind), name: String(value.metadata?.name ?? '') };
}

/** The manifest with the change made; every byte that need not change is kept. */
export function editManifest(text: string, file: string, change: ManifestChange): string {
  const { document, container } = findWorkload(text, file, change.container);
  const yaml = new YamlText(text);
  const expected = expectedValues(yaml, document, container, change);
  try {
    applyChange(yaml, document, container, change);
  } catch (error) {
    if (!(error instanceof UneditableYaml)) throw error;
    throw new ThroughlineError('TL_MANIFEST_INVALID', `${file} cannot be edited: ${error.message}`, {
      where: placeOf(yaml.text, file, error.offset),
    });
  }
  // The edit was made on the text; that it means what it should, and nothing else, is checked on the values.
  if (!isDeepStrictEqual(plain(readBack(yaml, file)), expected)) {
    throw new ThroughlineError(
      'TL_MANIFEST_INVALID',
      `${file} cannot be edited without changing what is not ours`,
      {
        expected: `image, env and annotations of ${change.container} written out, not merged in`,
        where: { file },
        hint: 'Write these fields out in the manifest, without anchors and merge keys.',
      },
    );
  }
  return yaml.text;
}

function applyChange(yaml: YamlText, document: number, index: number, change: ManifestChange): void {
  const container = [...TEMPLATE, 'spec', 'containers', index];
  for (const [name, value] of Object.entries(change.annotations)) {
    yaml.set(document, [...TEMPLATE, 'metadata', 'annotations', name], value);
  }
  yaml.set(document, [...container, 'image'], change.image, 'name');
  for (const [name, value] of Object.entries(change.env)) {
    const env = templateAt(yaml, document)?.spec?.containers?.[index]?.env;
    const position = env?.findIndex((variable) => variable.name === name) ?? -1;
    if (env?.[position]?.valueFrom) {
      throw new UneditableYaml(
        `the variable ${name} of ${change.container} comes from elsewhere (valueFrom); give it a value`,
        0,
      );
    }
    if (position >= 0) yaml.set(document, [...container, 'env', position, 'value'], value, 'name');
    else if (env && env.length > 0) yaml.append(document, [...container, 'env'], { name, value });
    else yaml.insert(document, [...container, 'env'], [{ name, value }], 'image');
  }
}

/** The values that the edited text must have: the old ones, with only our fields changed. */
function expectedValues(yaml: YamlText, document: number, index: number, change: ManifestChange): unknown {
  const values = plain(yaml.values()) as unknown[];
  const template = podTemplate(values[document]);
  const container = template?.spec?.containers?.[index];
  if (!template || !container)
    throw new ThroughlineError('TL_INTERNAL', 'The workload vanished while being edited');
  template.metadata = {
    ...template.metadata,
    annotations: { ...template.metadata?.annotations, ...change.annotations },
  };
  container.image = change.image;
  const env = [...(container.env ?? [])];
  for (const [name, value] of Object.entries(change.env)) {
    const position = env.findIndex((variable) => variable.name === name);
    if (position >= 0) env[position] = { ...env[position], ...{ name, value } };
    else env.push({ name, ...{ value } });
  }
  container.env = env;
  return values;
}

function templateAt(yaml: YamlText, document: number): WrittenTemplate | undefined {
  return podTemplate(yaml.values()[document]);
}

function podTemplate(value: unknown): WrittenTemplate | undefined {
  const spec = (value as { spec?: { template?: unknown } } | null)?.spec;
  const template = spec?.template as WrittenTemplate | undefined;
  return template && Array.isArray(template.spec?.containers) ? template : undefined;
}

function nameOf(value: unknown): string {
  const { kind, metadata } = value as { kind?: string; metadata?: { name?: string } };
  return `${kind ?? 'workload'}/${metadata?.name ?? '?'}`;
}

function parseManifest(text: string, file: string): unknown[] {
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, {
      merge: true,
      uniqueKeys: true,
      lineCounter: lines,
      prettyErrors: false,
    });
    const list = 'empty' in documents ? [] : documents;
    for (const document of list) {
      const [error] = document.errors;
      if (error) {
        const { line, col } = lines.linePos(error.pos[0]);
        throw new ThroughlineError('TL_MANIFEST_INVALID', `${file} is not valid YAML: ${error.message}`, {
          where: { file, line, column: col },
        });
      }
    }
    return list.map((document) => document.toJS({ maxAliasCount: 100 }));
  } catch (error) {
    if (error instanceof RangeError || error instanceof ReferenceError) {
      throw new ThroughlineError(
        'TL_MANIFEST_INVALID',
        `${file} is nested too deeply, or its aliases expand to too much`,
        {
          where: { file },
        },
      );
    }
    throw error;
  }
}

function readBack(yaml: YamlText, file: string): unknown {
  try {
    return parseManifest(yaml.text, file);
  } catch {
    return undefined; // an edit that broke the text is refused like one that changed too much
  }
}

/** Values without shared references, so that changing one place changes no other. */
function plain(values: unknown): unknown {
  return JSON.parse(JSON.stringify(values ?? null));
}

function placeOf(text: string, file: string, offset: number): Location {
  const before = text.slice(0, offset).split('\n');
  return { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}

/** A pod template of a manifest, and what it says that it is: the release of its annotation, the digests of its images. */
export interface DeployedTemplate {
  readonly template: PodTemplate;
  readonly release: string | undefined;
  readonly digests: readonly string[];
}

/** What the manifest deploys, as far as it can be read: somebody may have written anything. */
export function deployedIn(text: string): DeployedTemplate[] {
  const documents = parseAllDocuments(text, { merge: true });
  return ('empty' in documents ? [] : documents).flatMap((document) => {
    if (document.errors.length > 0) return [];
    const template = podTemplate(document.toJS());
    if (!template) return [];
    const images = (template.spec?.containers ?? []).map((container) => String(container?.image ?? ''));
    return [
      {
        template: written(template),
        release: template.metadata?.annotations?.[RELEASE_ANNOTATION],
        digests: images.flatMap((image) => digestOf(image) ?? []),
      },
    ];
  });
}

/** As Kubernetes would take it: strings where there are to be strings. */
function written(template: WrittenTemplate): PodTemplate {
  const text = (value: unknown) => (value === undefined || value === null ? {} : { value: String(value) });
  return {
    metadata: {
      annotations: Object.fromEntries(
        Object.entries(template.metadata?.annotations ?? {}).map(([name, value]) => [name, String(value)]),
      ),
    },
    spec: {
      containers: (template.spec?.containers ?? []).flatMap((container) => [
        {
          name: String(container?.name ?? ''),
          image: String(container?.image ?? ''),
          env: (Array.isArray(container?.env) ? container.env : []).map((variable) => ({
            name: String(variable?.name ?? ''),
            ...text(variable?.value),
          })),
        },
      ]),
    },
  };
}
