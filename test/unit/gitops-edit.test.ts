// What a release changes in each kind of target, as data and as text, and what is refused with which words.
import { describe, expect, it } from 'vitest';
import { deployedBy } from '../../src/activities/gitops/deployed.js';
import {
  type DeployTarget,
  editHold,
  editTarget,
  fieldChanges,
  fieldsOf,
  filesOf,
  holdOf,
  workloadOf,
} from '../../src/activities/gitops/edit.js';
import { type Problem, ThroughlineError } from '../../src/domain/errors.js';
import { desired } from '../support/gitops-corpus.js';
import { type Files, reader, release } from '../support/gitops-judge.js';

const STATE = {
  image: `registry.example/ml/digits-inference:rel-x@sha256:${'1'.repeat(64)}`,
  env: { MODEL_ID: 'digits-0123' },
  annotations: { 'orchestration.trace_id': '00-1-2-01' },
};
const DIGEST = `sha256:${'1'.repeat(64)}`;

const PLAIN: DeployTarget = { manifest: 'k8s/digits.yaml', container: 'inference' };
const KUSTOMIZE = { image: 'digits-inference', workload: 'Deployment/digits', container: 'inference' };
const OVERLAY: DeployTarget = { manifest: 'overlays/production/kustomization.yaml', kustomize: KUSTOMIZE };
const OWN = 'overlays/production/throughline-deployment-digits.yaml';
const VALUES: DeployTarget = {
  manifest: 'values.yaml',
  helm: {
    image: { repository: 'image.repository', tag: 'image.tag' },
    annotations: 'podAnnotations',
    env: 'env',
    workload: 'Deployment/digits',
    container: 'inference',
  },
};

const workload = (kind: string, spec: string) => `kind: ${kind}\nmetadata:\n  name: digits\nspec:\n${spec}`;
const TEMPLATE =
  '  template:\n    spec:\n      containers:\n        - name: inference\n          image: old\n';

async function refusal(target: DeployTarget, files: Files): Promise<Problem> {
  const error = await editTarget(target, STATE, reader(files)).catch((thrown: unknown) => thrown);
  if (!(error instanceof ThroughlineError)) throw new Error(`it was taken: ${String(error)}`);
  return error.problem;
}

async function edited(target: DeployTarget, files: Files): Promise<Files> {
  return Object.fromEntries(
    (await editTarget(target, STATE, reader(files))).map(({ path, text }) => [path, text]),
  );
}

async function withHold(target: DeployTarget, files: Files, hold: string | undefined): Promise<Files> {
  const edits = await editHold(target, hold, reader(files));
  return { ...files, ...Object.fromEntries(edits.map(({ path, text }) => [path, text])) };
}

describe('a plain manifest', () => {
  it('is changed by data: file, path, old and new value', async () => {
    const file = PLAIN.manifest;
    const container = ['spec', 'template', 'spec', 'containers', 0];
    const files = { [file]: `kind: Service\n---\n${workload('Deployment', TEMPLATE)}` };
    expect(await fieldChanges(PLAIN, STATE, reader(files))).toEqual([
      {
        file,
        document: 1,
        path: ['spec', 'template', 'metadata', 'annotations', 'orchestration.trace_id'],
        before: undefined,
        after: '00-1-2-01',
      },
      { file, document: 1, path: [...container, 'image'], before: 'old', after: STATE.image },
      {
        file,
        document: 1,
        path: [...container, 'env', 0],
        before: undefined,
        after: { name: 'MODEL_ID', value: 'digits-0123' },
      },
    ]);
    const once = { ...files, ...(await edited(PLAIN, files)) };
    expect(await fieldChanges(PLAIN, STATE, reader(once))).toEqual([]);
  });

  it.each(['Deployment', 'StatefulSet', 'DaemonSet', 'Rollout'])('may have a %s', async (kind) => {
    const files = { [PLAIN.manifest]: workload(kind, TEMPLATE) };
    expect(await workloadOf(PLAIN, reader(files))).toEqual({ kind, name: 'digits' });
    const after = await release(PLAIN, files, STATE);
    expect(await fieldsOf(PLAIN, reader(after))).toEqual({
      image: STATE.image,
      modelId: 'digits-0123',
      annotations: STATE.annotations,
    });
  });

  it('may have an InferenceService: its predictor’s annotations reach the pods, its model is a container', async () => {
    const target = { ...PLAIN, container: 'kserve-container' };
    const text = workload(
      'InferenceService',
      '  predictor:\n    model:\n      modelFormat: {name: sklearn}\n      storageUri: s3://models/digits\n',
    );
    expect(await edited(target, { [PLAIN.manifest]: text })).toEqual({
      [PLAIN.manifest]: workload(
        'InferenceService',
        `  predictor:
    model:
      modelFormat: {name: sklearn}
      storageUri: s3://models/digits
      image: ${STATE.image}
      env:
        - name: MODEL_ID
          value: digits-0123
    annotations:
      orchestration.trace_id: 00-1-2-01
`,
      ),
    });
    expect(await workloadOf(target, reader({ [PLAIN.manifest]: text }))).toEqual({
      kind: 'InferenceService',
      name: 'digits',
    });
  });

  it.each([
    [
      'a Rollout that takes its pods from a Deployment',
      workload('Rollout', '  workloadRef: {apiVersion: apps/v1, kind: Deployment, name: served}\n'),
      { code: 'TL_MANIFEST_CONTAINER_MISSING', hint: expect.stringContaining('Deployment/served') },
    ],
    [
      'a CronJob',
      workload('CronJob', `  jobTemplate:\n    spec:\n${TEMPLATE.replace(/^/gm, '    ')}`),
      { code: 'TL_MANIFEST_CONTAINER_MISSING', hint: expect.stringContaining('Deployment, StatefulSet') },
    ],
    [
      'an InferenceService of the older form',
      workload('InferenceService', '  predictor:\n    sklearn: {storageUri: s3://x}\n'),
      { code: 'TL_MANIFEST_CONTAINER_MISSING', hint: expect.stringContaining('spec.predictor.model') },
    ],
    [
      'a kustomization that the plan does not call one',
      'images:\n  - name: x\n',
      { code: 'TL_MANIFEST_CONTAINER_MISSING', hint: expect.stringContaining('kustomize') },
    ],
    [
      'two workloads with the container',
      `${workload('Deployment', TEMPLATE)}---\n${workload('Rollout', TEMPLATE)}`,
      { code: 'TL_MANIFEST_AMBIGUOUS', found: 'Deployment/digits, Rollout/digits' },
    ],
    [
      'annotations that are merged in',
      `x: &x\n  annotations: {a: b}\n${workload('Deployment', TEMPLATE.replace('template:\n', 'template:\n    metadata: {<<: *x}\n'))}`,
      { code: 'TL_MANIFEST_INVALID', hint: expect.stringContaining('merge keys') },
    ],
    [
      'MODEL_ID from elsewhere',
      workload(
        'Deployment',
        `${TEMPLATE}          env: [{name: MODEL_ID, valueFrom: {fieldRef: {fieldPath: x}}}]\n`,
      ),
      { code: 'TL_MANIFEST_INVALID', found: 'valueFrom' },
    ],
  ])('with %s is refused', async (_, text, problem) => {
    expect(await refusal(PLAIN, { [PLAIN.manifest]: text })).toMatchObject(problem);
  });

  it('has the last of several variables of one name changed: Kubernetes takes that', async () => {
    const files = {
      [PLAIN.manifest]: workload(
        'Deployment',
        `${TEMPLATE}          env: [{name: MODEL_ID, value: a}, {name: MODEL_ID, value: b}]\n`,
      ),
    };
    const after = await edited(PLAIN, files);
    expect(after[PLAIN.manifest]).toContain(
      '[{name: MODEL_ID, value: a}, {name: MODEL_ID, value: digits-0123}]',
    );
    expect(await fieldsOf(PLAIN, reader(after))).toMatchObject({ modelId: 'digits-0123' });
  });

  it('has a text where a number was, though both look the same', async () => {
    const files = {
      [PLAIN.manifest]: workload('Deployment', `${TEMPLATE}          env: [{name: MODEL_ID, value: 12}]\n`),
    };
    const [edit] = await editTarget(PLAIN, { ...STATE, env: { MODEL_ID: '12' } }, reader(files));
    expect(edit?.text).toContain('env: [{name: MODEL_ID, value: "12"}]');
  });

  it('that is not there is refused', async () => {
    expect(await refusal(PLAIN, {})).toMatchObject({ code: 'TL_FILE_NOT_FOUND' });
  });
});

describe('a kustomization', () => {
  const BASIC = 'resources:\n- ../../base\nimages:\n- name: digits-inference # ours\n  newTag: v1\n';

  it('has the image in images, and the rest in a patch of its own', async () => {
    expect(await edited(OVERLAY, { [OVERLAY.manifest]: BASIC })).toEqual({
      [OVERLAY.manifest]: `resources:
- ../../base
images:
- name: digits-inference # ours
  newName: registry.example/ml/digits-inference
  newTag: rel-x
  digest: ${DIGEST}
patches:
- path: throughline-deployment-digits.yaml
  target:
    kind: Deployment
    name: digits
`,
      [OWN]: `apiVersion: apps/v1
kind: Deployment
metadata:
  name: digits
spec:
  template:
    metadata:
      annotations:
        orchestration.trace_id: 00-1-2-01
    spec:
      containers:
        - name: inference
          env:
            - name: MODEL_ID
              value: digits-0123
`,
    });
  });

  it('has no newName where the base has the image by its own name', async () => {
    const kustomize = { ...KUSTOMIZE, image: 'registry.example/ml/digits-inference' };
    const after = await edited(
      { ...OVERLAY, kustomize },
      { [OVERLAY.manifest]: 'resources: [../../base]\n' },
    );
    expect(after[OVERLAY.manifest]).toContain(
      `  - name: registry.example/ml/digits-inference\n    newTag: rel-x\n`,
    );
  });

  it('is changed in values alone by the next release', async () => {
    const first = await release(OVERLAY, { [OVERLAY.manifest]: BASIC }, desired('first', '1'));
    const changes = await fieldChanges(OVERLAY, desired('second', '2'), reader(first));
    expect(changes.map(({ path, before }) => [path.at(-1), typeof before])).toEqual([
      ['newTag', 'string'],
      ['digest', 'string'],
      ['orchestration.trace_id', 'string'],
      ['resource.opentelemetry.io/cicd.pipeline.run.id', 'string'],
      ['resource.opentelemetry.io/ml.model.id', 'string'],
      ['resource.opentelemetry.io/ml.dataset.version', 'string'],
      ['value', 'string'],
    ]);
    expect([...(await filesOf(OVERLAY, reader(first)))].sort()).toEqual([OVERLAY.manifest, OWN]);
  });

  it('is edited where a patch says it already: of several, in the one that is applied last', async () => {
    const patch = (id: string) => `      kind: Deployment
      metadata: {name: digits}
      spec:
        template:
          metadata:
            annotations: {orchestration.trace_id: ${id}}
          spec:
            containers:
            - name: inference
              env: [{name: MODEL_ID, value: ${id}}]
`;
    const text = `patches:\n  - patch: |\n${patch('first')}  - patch: |-\n${patch('last')}images: [{name: digits-inference}]\n`;
    const after = await edited(OVERLAY, { [OVERLAY.manifest]: text });
    expect(Object.keys(after)).toEqual([OVERLAY.manifest]);
    expect(after[OVERLAY.manifest]).toContain(patch('first'));
    expect(after[OVERLAY.manifest]).not.toContain('last');
    expect(await fieldsOf(OVERLAY, reader(after))).toEqual({
      image: STATE.image,
      modelId: 'digits-0123',
      annotations: STATE.annotations,
    });
  });

  it('has what no patch says yet in the one that says the rest, and never in that of another workload', async () => {
    const patch = (name: string) =>
      `  - patch: |-\n      kind: Deployment\n      metadata: {name: ${name}}\n      spec:\n        template:\n          metadata:\n            annotations: {orchestration.trace_id: old}\n`;
    const text = `patches:\n${patch('digits')}${patch('frontend')}images: [{name: digits-inference}]\n`;
    const state = {
      ...STATE,
      annotations: { ...STATE.annotations, 'resource.opentelemetry.io/ml.model.id': 'm' },
    };
    const after = await release(OVERLAY, { [OVERLAY.manifest]: text }, state);
    expect(Object.keys(after)).toEqual([OVERLAY.manifest]);
    expect(after[OVERLAY.manifest]).toContain(patch('frontend'));
    expect(after[OVERLAY.manifest]).toContain(
      'annotations: {orchestration.trace_id: 00-1-2-01, resource.opentelemetry.io/ml.model.id: "m"}',
    );
    expect((await fieldsOf(OVERLAY, reader(after))).modelId).toBe('digits-0123');
  });

  it('lists the patch again where somebody has taken it out', async () => {
    const first = await release(OVERLAY, { [OVERLAY.manifest]: BASIC }, STATE);
    const out = {
      ...first,
      [OVERLAY.manifest]: (first[OVERLAY.manifest] ?? '').replace(/patches:[\s\S]*$/, ''),
    };
    expect((await fieldsOf(OVERLAY, reader(out))).modelId).toBeUndefined();
    expect({ ...out, ...(await edited(OVERLAY, out)) }).toEqual(first);
  });

  it('leaves patches alone that are not of the workload, or not to be read', async () => {
    const text = `patches:
  - path: https://example.com/patch.yaml
  - path: ../../../outside.yaml
  - path: frontend.yaml
  - target: {kind: Deployment, labelSelector: app=digits}
    patch: |
      kind: Deployment
      metadata: {name: digits, annotations: {orchestration.trace_id: none}}
  - patch: "- op: remove\\n  path: /spec/replicas\\n"
    target: {kind: Deployment, name: digits}
`;
    const read: string[] = [];
    const files: Files = { [OVERLAY.manifest]: text, 'overlays/production/frontend.yaml': 'kind: [broken\n' };
    const edits = await editTarget(OVERLAY, STATE, async (path) => {
      read.push(path);
      return files[path];
    });
    expect(edits.map(({ path }) => path)).toEqual([OVERLAY.manifest, OWN]);
    expect(edits[0]?.text.startsWith(text.trimEnd())).toBe(true);
    expect(read).toEqual([OVERLAY.manifest, 'overlays/production/frontend.yaml', OWN]);
  });

  it('has a Rollout’s containers patched only where Kustomize knows its schema', async () => {
    const target = { ...OVERLAY, kustomize: { ...KUSTOMIZE, workload: 'Rollout/digits' } };
    expect(await refusal(target, { [OVERLAY.manifest]: BASIC })).toMatchObject({
      code: 'TL_MANIFEST_INVALID',
      expected: expect.stringContaining('openapi'),
    });
    const after = await edited(target, { [OVERLAY.manifest]: `${BASIC}openapi:\n  path: rollout.json\n` });
    expect(after['overlays/production/throughline-rollout-digits.yaml']).toMatch(
      /^apiVersion: argoproj.io\/v1alpha1\nkind: Rollout\n/,
    );
    expect(await workloadOf(target, reader({ [OVERLAY.manifest]: BASIC }))).toEqual({
      kind: 'Rollout',
      name: 'digits',
    });
  });

  it.each([
    [
      'two entries for the image',
      'images: [{name: digits-inference}, {name: digits-inference}]\n',
      'TL_MANIFEST_AMBIGUOUS',
    ],
    [
      'commonAnnotations that would win',
      'commonAnnotations: {orchestration.trace_id: x}\n',
      'TL_MANIFEST_INVALID',
    ],
    ['another kind', 'kind: Deployment\n', 'TL_MANIFEST_INVALID'],
    ['two documents', 'kind: Kustomization\n---\nkind: Kustomization\n', 'TL_MANIFEST_INVALID'],
    [
      'our fields in a patch that is one line',
      'patches:\n  - patch: "kind: Deployment\\nmetadata: {name: digits}\\nspec: {template: {metadata: {annotations: {orchestration.trace_id: x}}}}"\n',
      'TL_MANIFEST_INVALID',
    ],
  ])('with %s is refused', async (_, text, code) => {
    expect(await refusal(OVERLAY, { [OVERLAY.manifest]: text })).toMatchObject({ code });
  });
});

describe('values of a chart', () => {
  const edit = async (text: string, helm: Partial<NonNullable<DeployTarget['helm']>> = {}) => {
    const target = { ...VALUES, helm: { ...VALUES.helm, ...helm } as NonNullable<DeployTarget['helm']> };
    const files = { [VALUES.manifest]: text };
    const after = await edited(target, files);
    expect(await fieldsOf(target, reader(after))).toEqual({
      image: STATE.image,
      modelId: 'digits-0123',
      annotations: STATE.annotations,
    });
    return after[VALUES.manifest];
  };

  it('pin the image by the tag where there is no value for the digest', async () => {
    expect(await edit('image:\n  repository: x # ours\n  tag: ""\npodAnnotations: {}\nenv: []\n')).toBe(
      `image:\n  repository: registry.example/ml/digits-inference # ours\n  tag: "rel-x@${DIGEST}"\n` +
        'podAnnotations:\n  orchestration.trace_id: 00-1-2-01\nenv:\n  - name: MODEL_ID\n    value: digits-0123\n',
    );
  });

  it('may have the image in parts', async () => {
    const image = {
      registry: 'image.registry',
      repository: 'image.repository',
      tag: 'image.tag',
      digest: 'image.digest',
    };
    expect(await edit('image:\n  repository: x\nenv: {A: b}\n', { image })).toBe(
      `image:\n  repository: ml/digits-inference\n  tag: rel-x\n  digest: ${DIGEST}\n  registry: registry.example\n` +
        'env: {A: b, MODEL_ID: "digits-0123"}\npodAnnotations:\n  orchestration.trace_id: 00-1-2-01\n',
    );
  });

  it('may name the model in a value of its own', async () => {
    const text = await edit('model: {id: none}\n', {
      image: 'images[0]',
      modelId: 'model.id',
      env: undefined,
    });
    expect(text).toContain('model: {id: digits-0123}\n');
    expect(text).toContain(`images:\n  - ${STATE.image}\n`);
  });

  it.each([
    ['a list', '- a\n', 'expected: one document, a map'],
    ['two documents', 'a: b\n---\nc: d\n', 'found: 2 documents'],
    ['a text where a map is to be', 'image: x\n', 'image'],
  ])('that are %s are refused', async (_, text) => {
    expect(await refusal(VALUES, { [VALUES.manifest]: text })).toMatchObject({ code: 'TL_MANIFEST_INVALID' });
  });
});

describe('a hold', () => {
  const DEPLOYMENT = `# ours\n${workload('Deployment', TEMPLATE)}`;

  it.each([
    ['a manifest', PLAIN, DEPLOYMENT],
    ['a kustomization that was released', OVERLAY, undefined],
    ['values', VALUES, 'podAnnotations:\n  a: b\n'],
  ] as const)(
    'of %s is set, changed and taken away again, and leaves nothing behind',
    async (_, target, text) => {
      const files = text
        ? { [target.manifest]: text }
        : await release(target, { [target.manifest]: 'resources: []\n' }, STATE);
      expect(await holdOf(target, reader(files))).toBeUndefined();
      expect(await editHold(target, undefined, reader(files))).toEqual([]);
      const held = await withHold(target, files, 'incident: 42');
      expect(await holdOf(target, reader(held))).toBe('incident: 42');
      expect(await editHold(target, 'incident: 42', reader(held))).toEqual([]);
      const again = await withHold(target, held, 'still');
      expect(await holdOf(target, reader(again))).toBe('still');
      expect(await withHold(target, again, undefined)).toEqual(files);
    },
  );

  it('stands at the workload, so that no pod is started anew', async () => {
    const held = await withHold(PLAIN, { [PLAIN.manifest]: DEPLOYMENT }, 'x');
    expect(held[PLAIN.manifest]).toContain(
      'metadata:\n  name: digits\n  annotations:\n    throughline.dev/hold: x\n',
    );
  });

  it('takes effect in a kustomization that no release has changed yet', async () => {
    const held = await withHold(OVERLAY, { [OVERLAY.manifest]: 'resources: []\n' }, 'x');
    expect(held[OVERLAY.manifest]).toContain('path: throughline-deployment-digits.yaml');
    expect(held[OWN]).toBe(
      'apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: digits\n  annotations:\n    throughline.dev/hold: x\n',
    );
    expect(await holdOf(OVERLAY, reader(held))).toBe('x');
  });

  it.each([
    [
      'at the pods',
      PLAIN,
      workload(
        'Deployment',
        TEMPLATE.replace(
          'template:\n',
          'template:\n    metadata: {annotations: {throughline.dev/hold: x}}\n',
        ),
      ),
    ],
    ['in commonAnnotations', OVERLAY, 'commonAnnotations:\n  throughline.dev/hold: x\n  team: ml\n'],
    [
      'in an inline patch',
      OVERLAY,
      'patches:\n- patch: |-\n    kind: Deployment\n    metadata:\n      name: digits\n      annotations: {throughline.dev/hold: "x"}\n',
    ],
  ])('that somebody wrote %s is seen, changed there, and taken away', async (_, target, text) => {
    const files = { [target.manifest]: text };
    expect(await holdOf(target, reader(files))).toBe('x');
    const changed = await withHold(target, files, 'y');
    expect(Object.keys(changed)).toEqual([target.manifest]);
    expect(await holdOf(target, reader(changed))).toBe('y');
    const free = await withHold(target, changed, undefined);
    expect(await holdOf(target, reader(free))).toBeUndefined();
    expect(free[target.manifest]).not.toContain('hold');
  });

  it('without a value holds nothing', async () => {
    const files = { [VALUES.manifest]: 'podAnnotations:\n  throughline.dev/hold:\n' };
    expect(await holdOf(VALUES, reader(files))).toBeUndefined();
  });
});

describe('what a repository deploys, read without a plan', () => {
  const template = { metadata: { annotations: expect.objectContaining(STATE.annotations) } };

  it.each([
    ['a manifest', PLAIN, workload('Deployment', TEMPLATE), { namesModel: undefined }],
    [
      'an InferenceService',
      PLAIN,
      workload('InferenceService', '  predictor: {containers: [{name: inference}]}\n'),
      {},
    ],
    ['a kustomization', OVERLAY, 'images: [{name: proxy, newTag: v1}]\n', {}],
    ['values', VALUES, 'replicas: 1\n', { namesModel: true }],
  ] as const)('is found in %s', async (_, target, text, more) => {
    const state = {
      ...STATE,
      annotations: { ...STATE.annotations, 'resource.opentelemetry.io/cicd.pipeline.run.id': 'rel-x' },
    };
    const after = await release(target, { [target.manifest]: text }, state);
    const [found, ...others] = await deployedBy(target.manifest, reader(after));
    expect(others).toEqual([]);
    expect(found).toMatchObject({ release: 'rel-x', digests: [DIGEST], template });
    expect(found?.namesModel).toBe('namesModel' in more ? more.namesModel : undefined);
    const container = found?.template.spec?.containers?.find(({ image }) => image?.endsWith(DIGEST));
    expect(container?.env).toContainEqual({ name: 'MODEL_ID', value: 'digits-0123' });
  });

  it('says where values need not name the model', async () => {
    const values = { ...VALUES, helm: { ...VALUES.helm, modelId: 'model', env: undefined } } as DeployTarget;
    const after = await release(values, { [VALUES.manifest]: 'a: b\n' }, desired('first', '1'));
    expect(await deployedBy(VALUES.manifest, reader(after))).toMatchObject([
      { release: 'rel-first', namesModel: false },
    ]);
  });

  it('is nothing where there is nothing', async () => {
    expect(await deployedBy('values.yaml', reader({}))).toEqual([]);
    expect(await deployedBy('values.yaml', reader({ 'values.yaml': 'a: b\n' }))).toEqual([]);
    expect(await deployedBy('kustomization.yaml', reader({ 'kustomization.yaml': 'kind: [\n' }))).toEqual([]);
  });
});
