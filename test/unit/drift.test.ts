// What is not as it was released: each field of a template and of a pod by itself.
import { describe, expect, it } from 'vitest';
import { differences, podDifferences, templateOf } from '../../src/activities/drift/compare.js';
import { deployedIn } from '../../src/activities/gitops/manifest.js';
import { type Drift, type ExpectedState, seenTwice } from '../../src/domain/drift.js';
import type { Pod, PodTemplate } from '../../src/kubernetes/objects.js';

const digest = (letter: string) => `sha256:${letter.repeat(64)}`;
const trace = '0af7651916cd43dd8448eb211c80319c';
const expected: ExpectedState = {
  environment: 'production',
  model: 'digits',
  repository: 'https://git.example/gitops.git',
  branch: 'main',
  manifest: 'k8s/deployment.yaml',
  release: 'rel-aaaaaaaaaaaaaaaaaaaa',
  commit: 'c'.repeat(40),
  image: 'registry.example/ml/digits:rel',
  imageDigest: digest('a'),
  modelId: 'digits-1',
  modelDigest: digest('b'),
  traceId: trace,
  sourceCommit: 'd'.repeat(40),
  dataset: { name: 'digits', version: 'v1' },
  workload: { kind: 'Deployment', namespace: 'ml', name: 'digits' },
  deploying: null,
};

const PREFIX = 'resource.opentelemetry.io/';
const released = {
  'orchestration.trace_id': `00-${trace}-b7ad6b7169203331-01`,
  [`${PREFIX}cicd.pipeline.run.id`]: expected.release ?? '',
  [`${PREFIX}ml.model.id`]: 'digits-1',
  [`${PREFIX}vcs.ref.head.revision`]: 'd'.repeat(40),
  [`${PREFIX}ml.dataset.name`]: 'digits',
  [`${PREFIX}ml.dataset.version`]: 'v1',
};

function template({
  annotations = {},
  image = `registry.example/ml/digits:rel@${digest('a')}`,
  model = 'digits-1',
}: {
  annotations?: Record<string, string | undefined>;
  image?: string;
  model?: string;
} = {}): PodTemplate {
  const all = Object.entries({ team: 'ml', ...released, ...annotations }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    metadata: { annotations: Object.fromEntries(all) as Record<string, string> },
    spec: {
      containers: [
        { name: 'proxy', image: 'registry.example/proxy:1' },
        { name: 'inference', image, env: [{ name: 'MODEL_ID', value: model }] },
      ],
    },
  };
}
const found = (drifts: readonly Drift[]) => drifts.map(({ what, where, found: is }) => [what, where, is]);

describe('a template', () => {
  it('leaves the model to the pods where a file need not name it', () => {
    const unnamed = template({ model: 'another' });
    expect(differences('here', unnamed, expected)).toMatchObject([{ what: 'model', found: 'another' }]);
    expect(differences('here', unnamed, expected, false)).toEqual([]);
  });

  it('is as it was released, whatever else is in it', () =>
    expect(differences('here', template(), expected)).toEqual([]));

  it('with another image is not', () => {
    const image = `registry.example/ml/digits:rel@${digest('f')}`;
    expect(found(differences('here', template({ image }), expected))).toEqual([
      ['image', 'here', `registry.example/proxy:1, ${image}`],
    ]);
  });

  it('with an image by its tag alone is not', () =>
    expect(
      differences('here', template({ image: 'registry.example/ml/digits:rel' }), expected),
    ).toMatchObject([{ what: 'image', expected: digest('a') }]));

  it.each(Object.keys(released))('with another %s is not, nor without it', (name) => {
    for (const value of ['another', undefined])
      expect(found(differences('here', template({ annotations: { [name]: value } }), expected))).toEqual([
        ['annotation', `here, ${name}`, value ?? 'nothing'],
      ]);
  });

  it('that serves another model is not', () =>
    expect(found(differences('here', template({ model: 'digits-2' }), expected))).toEqual([
      ['model', 'here, MODEL_ID', 'digits-2'],
    ]));

  it('that is empty is not', () =>
    expect(differences('here', {}, expected).map(({ what }) => what)).toContain('image'));
});

describe('a pod', () => {
  const pod = (imageID: string, of: PodTemplate = template()): Pod => ({
    metadata: { name: 'digits-1', namespace: 'ml', ...of.metadata },
    ...(of.spec ? { spec: of.spec } : {}),
    status: {
      phase: 'Running',
      containerStatuses: [
        { name: 'proxy', imageID: `registry.example/proxy@${digest('e')}` },
        { name: 'inference', imageID },
      ],
    },
  });
  it('runs what it was made from', () =>
    expect(podDifferences(pod(`registry.example/ml/digits@${digest('a')}`), expected)).toEqual([]));
  it('may be on a runtime that names images otherwise', () =>
    expect(podDifferences(pod('docker://4b825dc642cb'), expected)).toEqual([]));
  it('that runs another image than it was made from is seen', () =>
    expect(found(podDifferences(pod(`registry.example/ml/digits@${digest('f')}`), expected))).toEqual([
      ['image', 'pod ml/digits-1', `it runs ${digest('f')}`],
    ]));
});

describe('the template of a release', () => {
  const document = (name: string, release: string, letter: string) => `kind: Deployment
metadata: { name: ${name} }
spec:
  template:
    metadata: { annotations: { ${PREFIX}cicd.pipeline.run.id: ${release} } }
    spec: { containers: [{ name: ${name}, image: 'registry.example/${name}:x@${digest(letter)}' }] }
`;
  const of = (...documents: string[]) =>
    templateOf(
      deployedIn(documents.join('---\n')).map((one) => one.template),
      expected,
    )?.spec?.containers?.[0]?.name;
  it('is the one that says so, then the one with its image, then the only one', () => {
    const other = document('other', 'rel-b', 'b');
    expect(of(other, document('said', expected.release ?? '', 'c'), document('run', 'rel-c', 'a'))).toBe(
      'said',
    );
    expect(of(other, document('run', 'rel-c', 'a'))).toBe('run');
    expect(of(other)).toBe('other');
    expect(of(other, document('third', 'rel-d', 'd'))).toBeUndefined();
  });
});

describe('what two looks have found', () => {
  const drift = (where: string, what: Drift['what'] = 'image'): Drift => ({
    what,
    where,
    expected: 'a',
    found: 'b',
  });
  it('is what both have, though the branch has moved between them', () =>
    expect(
      seenTwice(
        [drift(`f at ${'0'.repeat(12)}`), drift('pod a'), drift('pod c', 'model')],
        [drift(`f at ${'1'.repeat(12)}`), drift('pod b'), drift('pod c')],
      ),
    ).toEqual([drift(`f at ${'1'.repeat(12)}`)]));
});
