// A corpus of what people keep in GitOps repositories: files written by hand, those files as other editors would have saved
// them, and manifests put together from what manifests differ in. What is of a release in them is told from the rest by
// marks: an image of ours has `digits-inference` in its name, a model of ours is called `digits-…`.
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DeployTarget, DesiredState } from '../../src/activities/gitops/edit.js';

export interface CorpusCase {
  readonly name: string;
  readonly target: DeployTarget;
  /** Texts by path. */
  readonly files: Readonly<Record<string, string>>;
}

const ROOT = fileURLToPath(new URL('../corpus/gitops', import.meta.url));

export const desired = (id: string, digit: string): DesiredState => ({
  image: `registry.example/ml/digits-inference:rel-${id}@sha256:${digit.repeat(64)}`,
  env: { MODEL_ID: `digits-${id}` },
  annotations: {
    'orchestration.trace_id': `00-${digit.repeat(32)}-${digit.repeat(16)}-01`,
    'resource.opentelemetry.io/cicd.pipeline.run.id': `rel-${id}`,
    'resource.opentelemetry.io/ml.model.id': `digits-${id}`,
    'resource.opentelemetry.io/ml.dataset.version': `2024-0${digit}-01`,
  },
});

const KUSTOMIZE = {
  image: 'digits-inference',
  workload: 'Deployment/digits',
  container: 'inference',
} as const;

const HELM = { workload: 'Deployment/digits', container: 'inference' } as const;
const image = (repository: string, tag: string) => ({ repository, tag });

const VALUES: Readonly<Record<string, NonNullable<DeployTarget['helm']>>> = {
  'tag-and-repository': {
    ...HELM,
    image: image('image.repository', 'image.tag'),
    annotations: 'podAnnotations',
    modelId: 'modelId',
  },
  'split-digest': {
    ...HELM,
    image: { registry: 'image.registry', ...image('image.repository', 'image.tag'), digest: 'image.digest' },
    annotations: 'podAnnotations',
    env: 'extraEnvVars',
  },
  'single-string': {
    ...HELM,
    image: 'inference.image',
    annotations: 'inference.podAnnotations',
    env: 'inference.env',
  },
  'single-string-bare': {
    ...HELM,
    image: 'inference.image',
    annotations: 'inference.podAnnotations',
    env: 'inference.env',
  },
  'umbrella-crlf': {
    ...HELM,
    image: image('digits.image.repository', 'digits.image.tag'),
    annotations: 'digits.pod.annotations',
    modelId: 'digits.model.id',
  },
  indexed: {
    ...HELM,
    image: 'deployments[1].containers[0].image',
    annotations: 'deployments[1].annotations',
    env: 'deployments[1].containers[0].env',
  },
  'only-comments': { ...HELM, image: 'image', annotations: 'podAnnotations', modelId: 'modelId' },
  'dotted-keys': {
    ...HELM,
    image: 'services.digits\\.v1.image',
    annotations: 'services.digits\\.v1.annotations',
    modelId: 'services.digits\\.v1.modelId',
  },
};

/** The files that were written by hand. */
export function writtenCases(): CorpusCase[] {
  const text = (path: string) => readFileSync(join(ROOT, path), 'utf8');
  const manifests = readdirSync(join(ROOT, 'manifest')).map((file): CorpusCase => {
    const container = file.includes('.kserve-container.') ? 'kserve-container' : 'inference';
    return { name: file, target: { manifest: file, container }, files: { [file]: text(`manifest/${file}`) } };
  });
  const kustomizations = readdirSync(join(ROOT, 'kustomize'))
    .filter((name) => statSync(join(ROOT, 'kustomize', name)).isDirectory())
    .map((name): CorpusCase => {
      const files = readdirSync(join(ROOT, 'kustomize', name)).map((file) => [
        `${name}/${file}`,
        text(`kustomize/${name}/${file}`),
      ]);
      const target = { manifest: `${name}/kustomization.yaml`, kustomize: KUSTOMIZE };
      return { name: `kustomize ${name}`, target, files: Object.fromEntries(files) };
    });
  const values = readdirSync(join(ROOT, 'helm')).map((file): CorpusCase => {
    const helm = VALUES[basename(file, '.yaml')];
    if (!helm) throw new Error(`no target for ${file}`);
    return {
      name: `helm ${file}`,
      target: { manifest: file, helm },
      files: { [file]: text(`helm/${file}`) },
    };
  });
  return [...manifests, ...kustomizations, ...values];
}

/** As other editors, and other people, would have saved a file. */
const SAVED: Readonly<Record<string, (text: string) => string>> = {
  'with CRLF': (text) => text.replace(/\r?\n/g, '\r\n'),
  'without its last newline': (text) => text.replace(/[ \t]*(?:\r?\n)+$/, ''),
  'with a byte order mark': (text) => `\uFEFF${text.replace(/^\uFEFF/, '')}`,
};

export function savedOtherwise(cases: readonly CorpusCase[]): CorpusCase[] {
  return cases.flatMap((one) =>
    Object.entries(SAVED).flatMap(([how, save]) => {
      const files = Object.fromEntries(Object.entries(one.files).map(([path, text]) => [path, save(text)]));
      const same = Object.entries(files).every(([path, text]) => text === one.files[path]);
      return same ? [] : [{ ...one, name: `${one.name}, ${how}`, files }];
    }),
  );
}

/** What manifests differ in; a manifest takes one of each. */
const FEATURES = {
  kind: ['Deployment', 'StatefulSet', 'DaemonSet', 'Rollout', 'containers', 'model'],
  indent: [2, 4],
  dashes: ['indented', 'not indented', 'wide'],
  quote: ['', "'", '"'],
  annotations: ['none', 'null', '{}', '~', 'flow', 'theirs', 'ours', 'ours among theirs', 'comment'],
  image: ['plain', 'folded', 'none', 'with comment'],
  env: [
    'none',
    '[]',
    'null',
    'theirs',
    'ours first',
    'ours last',
    'flow',
    'valueFrom first',
    'valueFrom last',
  ],
  position: ['alone', 'first', 'last'],
  order: ['name first', 'image first', 'env first'],
  before: ['', 'empty', 'service', 'config map'],
  after: ['', 'end', 'empty', 'service'],
  comments: [false, true],
  eol: ['\n', '\r\n'],
  final: ['newline', 'none', 'blank lines'],
  bom: [false, true],
} as const;

type Features = { [Name in keyof typeof FEATURES]: (typeof FEATURES)[Name][number] };

/** Manifests with features that are chosen evenly, and always in the same way. */
export function generatedCases(count: number): CorpusCase[] {
  let state = 20_240_101;
  const next = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0; // Numerical Recipes, "Quick and Dirty Generators"
    return Math.floor((state / 2 ** 32) * below);
  };
  return Array.from({ length: count }, (_, index) => {
    const features = Object.fromEntries(
      Object.entries(FEATURES).map(([name, values]) => [name, values[next(values.length)]]),
    ) as Features;
    const container = features.kind === 'model' ? 'kserve-container' : 'inference';
    const name = `generated ${index}: ${JSON.stringify(features)}`;
    return { name, target: { manifest: 'm.yaml', container }, files: { 'm.yaml': manifest(features) } };
  });
}

function manifest(features: Features): string {
  const { before, after, eol, final, bom } = features;
  const others = {
    '': [],
    empty: ['---', '---'],
    end: ['...'],
    service: [...(after === 'service' ? ['---'] : []), 'kind: Service', 'metadata: {name: digits}'],
    'config map': [
      'kind: ConfigMap',
      'data:',
      '  a.yaml: |',
      '    env:',
      '      - name: X',
      '  b: >',
      '    x',
      '',
    ],
  };
  const lines = [
    ...others[before],
    ...(before === '' || before === 'empty' ? [] : ['---']),
    ...workload(features),
    ...others[after],
  ];
  const end = { newline: eol, none: '', 'blank lines': `${eol}${eol}${eol}` }[final];
  return `${bom ? '\uFEFF' : ''}${lines.join(eol)}${end}`;
}

function workload(features: Features): string[] {
  const { kind, comments } = features;
  const step = ' '.repeat(features.indent);
  const inside = (lines: readonly string[]) => lines.map((line) => (line === '' ? '' : `${step}${line}`));
  const note = (text: string) => (comments ? [`# ${text}`] : []);
  const served = kind === 'containers' || kind === 'model';
  const containers = [...note('what runs'), 'containers:', ...items(containersOf(features), features)];
  const annotations = annotationsOf(features).map((line) => line);
  const template = [
    ...(annotations.length > 0
      ? [
          'metadata:',
          ...inside([...note('of the pods'), ...annotations, 'labels:', ...inside(['app: digits'])]),
        ]
      : []),
    'spec:',
    ...inside([...containers, ...note('the end of the pod')]),
  ];
  const model = [
    'model:',
    ...inside([...note('what is served'), 'modelFormat: {name: sklearn}', ...fields(features)]),
  ];
  const spec = served
    ? ['predictor:', ...inside([...annotations, ...(kind === 'model' ? model : containers)])]
    : ['replicas: 2', ...note('what pods are made from'), 'template:', ...inside(template)];
  return [
    ...note('head'),
    `kind: ${served ? 'InferenceService' : kind}`,
    'metadata:',
    ...inside(['name: digits', ...note('of the workload'), 'annotations: {owner: ml}']),
    'spec:',
    ...inside(spec),
    ...note('foot'),
  ];
}

function annotationsOf({ annotations, quote, indent }: Features): string[] {
  const step = ' '.repeat(indent);
  const ours = `${step}orchestration.trace_id: ${quote}none${quote}`;
  const theirs = `${step}prometheus.io/port: ${quote || "'"}8080${quote || "'"}`;
  switch (annotations) {
    case 'none':
      return [];
    case 'null':
      return ['annotations:'];
    case 'comment':
      return ['annotations:   # none yet'];
    case '{}':
    case '~':
      return [`annotations: ${annotations}`];
    case 'flow':
      return ['annotations: {a: "b", orchestration.trace_id: none}   # short'];
    case 'theirs':
      return ['annotations:', theirs];
    case 'ours':
      return ['annotations:', ours];
    case 'ours among theirs':
      return [
        'annotations:',
        theirs,
        `${ours}   # by releases`,
        `${step}# last`,
        `${step}z: |`,
        `${step}${step}x`,
        '',
      ];
  }
}

function fields({ env, image, quote, order, dashes, indent }: Features): string[] {
  const step = ' '.repeat(indent);
  const reference = `registry.example/ml/digits-inference:dev`;
  const imageLines = {
    plain: [`image: ${quote}${reference}${quote}`],
    folded: ['image: >-', `${step}${reference}`],
    none: [],
    'with comment': [`image: ${reference} # bumped`],
  }[image];
  const item = (lines: string[]) => items([lines], { dashes, indent });
  const ours = item(['name: MODEL_ID', `value: ${quote}digits-old${quote}`]);
  const theirs = item(['name: A', 'value: b']);
  const from = item(['name: P', 'valueFrom:', `${step}fieldRef: {fieldPath: status.podIP}`]);
  const envLines = {
    none: [],
    '[]': ['env: []'],
    null: ['env:'],
    theirs: ['env:', ...theirs],
    'ours first': ['env:', ...ours, ...theirs],
    'ours last': ['env:', ...theirs, ...ours],
    flow: ['env: [{name: A, value: b}, {name: MODEL_ID, value: digits-old}]'],
    'valueFrom first': ['env:', ...from, ...ours],
    'valueFrom last': ['env:', ...ours, ...theirs, ...from],
  }[env];
  return order === 'env first' ? [...envLines, ...imageLines] : [...imageLines, ...envLines];
}

function containersOf(features: Features): string[][] {
  const name = `name: ${features.quote}inference${features.quote}`;
  const rest = [...fields(features), 'args: ["--port", "8080"]'];
  const ours = features.order === 'name first' ? [name, ...rest] : [...rest, name];
  const proxy = [
    'name: proxy',
    'image: envoyproxy/envoy:v1.31',
    'env:',
    ...items([['name: B', 'value: c']], features),
  ];
  return { alone: [ours], first: [ours, proxy], last: [proxy, ours] }[features.position];
}

/** Items of a sequence, with dashes as somebody likes them. */
function items(
  all: readonly (readonly string[])[],
  { dashes, indent }: Pick<Features, 'dashes' | 'indent'>,
): string[] {
  const outer = dashes === 'not indented' ? '' : ' '.repeat(indent);
  const inner = dashes === 'wide' ? 4 : 2;
  return all.flatMap((lines) =>
    lines.map((line, index) =>
      line === '' ? '' : `${outer}${(index === 0 ? '-' : ' ').padEnd(inner)}${line}`,
    ),
  );
}
