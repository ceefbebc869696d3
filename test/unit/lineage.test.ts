// What an id could be, and what is kept of a release: pure functions, over histories of real releases.
import { describe, expect, it } from 'vitest';
import type { LineageAnswer, ReleaseAnswer } from '../../src/lineage/answer.js';
import { differenceOf, differenceText, layerChange } from '../../src/lineage/diff.js';
import { type Candidate, candidatesOf, normalizeQuery } from '../../src/lineage/identify.js';
import { lineageOf } from '../../src/lineage/record.js';
import { lineageDot, lineageMermaid, lineageText } from '../../src/lineage/text.js';
import { projectTrace } from '../../src/telemetry/projection.js';
import { keptHistories, keptRun } from '../support/lineage.js';

const TRACE = 'c91b4531e3e74c1a7dc584fbfc76e409';
const SPAN = '1f38c31603ca5a62';
const DIGEST = `sha256:${'a1'.repeat(32)}`;
const COMMIT = '7e5d390f6c4e3f3564076c75c9f737b477a6eb06';

const kindsOf = (query: string) => [...new Set(candidatesOf(normalizeQuery(query)).map(({ kind }) => kind))];

describe('an id', () => {
  it.each<[string, string[]]>([
    ['rel-obrvf5pl6mjrbv7u43m7', ['release']],
    [`00-${TRACE}-${SPAN}-01`, ['span', 'trace']],
    [`  "00-${TRACE.toUpperCase()}-${SPAN}-01"\n`, ['span', 'trace']],
    [DIGEST, ['image', 'trainer-image', 'base-image', 'model', 'dataset']],
    [`registry.example:5000/ml/digits:rel@${DIGEST}`, ['image', 'trainer-image', 'base-image', 'model']],
    ['trace:abc', []],
    [`trace:${TRACE}`, ['trace']],
    [`commit:${COMMIT.slice(0, 8)}`, ['commit']],
    ['dataset:digits@v1', ['dataset']],
    [
      `  '${DIGEST.toUpperCase().replace('SHA', 'sha')}'`,
      ['image', 'trainer-image', 'base-image', 'model', 'dataset'],
    ],
  ])('%j can be %j', (query, kinds) => expect(kindsOf(query)).toEqual(kinds));

  it.each<[string, string[]]>([
    [TRACE, ['trace', 'commit', 'gitops-commit']],
    [SPAN, ['span', 'commit', 'gitops-commit']],
    [COMMIT, ['commit', 'gitops-commit']],
    [COMMIT.slice(0, 7), ['commit', 'gitops-commit']],
    ['01HXYZABCDEFGHJKMNPQRSTVWX', ['execution']],
    ['2f1e5b0c-7c3e-4a55-9d56-0d7c6c0f1f11', ['run', 'execution']],
    ['digits@v1', ['dataset']],
    ['digits', ['model', 'pod', 'job']],
    ['serving/digits-6d5f7c9b4d-x2x7k', ['pod', 'job', 'image']],
    ['registry.example/ml/digits:rel-obrvf5pl6mjrbv7u43m7', ['image']],
  ])('%j can be %j, among others', (query, kinds) =>
    expect(kindsOf(query)).toEqual(expect.arrayContaining(kinds)),
  );

  it('is a commit from seven digits on', () => {
    expect(kindsOf(COMMIT.slice(0, 6))).not.toContain('commit');
    expect(kindsOf(COMMIT.slice(0, 7))).toContain('commit');
  });

  it('keeps the port of a registry apart from a tag', () => {
    const image = (query: string) =>
      candidatesOf(query).find(
        (one): one is Extract<Candidate, { repository: string }> => 'repository' in one,
      );
    expect(image('registry.example:5000/ml/digits')).toEqual({
      kind: 'image',
      repository: 'registry.example:5000/ml/digits',
    });
    expect(image('registry.example:5000/ml/digits:v7')).toEqual({
      kind: 'image',
      repository: 'registry.example:5000/ml/digits',
      tag: 'v7',
    });
  });

  it('never throws, whatever it is', () => {
    for (const text of [
      '',
      ' ',
      '@',
      'a@',
      '@a',
      ':',
      'model:',
      '\0',
      '日本',
      'x'.repeat(10_000),
      "'; drop",
      '%',
      '-',
    ])
      expect(() => candidatesOf(normalizeQuery(text))).not.toThrow();
  });
});

describe.each(keptHistories)('what is kept of %s', (name) => {
  const run = keptRun(name);
  const record = lineageOf([run]);

  it('is the same each time', () => expect(lineageOf([keptRun(name)])).toEqual(record));

  it('has every id that left the process', () => {
    const spans = projectTrace([run]).spans.map(({ spanId }) => spanId);
    expect(record.release.ids).toEqual(expect.arrayContaining([...spans, run.runId]));
    for (const { traceparent } of run.activities)
      if (traceparent) expect(record.release.ids).toContain(traceparent.split('-')[2]);
  });

  it('names the parameters that trained it', () => {
    // The plans of the kept histories that declare any are those of the local runtime.
    if (run.record?.training && !name.includes('kubernetes'))
      expect(record.release.parameters).toMatchObject({ TICKS: expect.anything() });
  });

  it('is less at every earlier moment, and never something else', () => {
    for (let events = 1; events < run.events.length; events += 1) {
      const { release, deployments } = lineageOf([keptRun(name, run.runId, events)]);
      for (const field of ['model', 'commit', 'datasetName', 'modelDigest', 'imageDigest', 'job'] as const)
        expect([null, record.release[field]]).toContain(release[field]);
      for (const { commit } of deployments)
        expect(record.deployments.map((one) => one.commit)).toContain(commit);
    }
  });
});

describe('what is kept of a release that succeeded', () => {
  const { release, deployments, pods } = lineageOf([keptRun('0.1.0/kubernetes-succeeded.json')]);

  it('is the whole chain', () => {
    for (const field of ['model', 'commit', 'datasetName', 'datasetVersion', 'job', 'modelId'] as const)
      expect(release[field], field).toBeTruthy();
    expect(release.imageDigest).toMatch(/^sha256:/);
    expect(release.modelDigest).toMatch(/^sha256:/);
    expect(release.trainerDigest).toMatch(/^sha256:/);
    expect(release.status).toBe('SUCCEEDED');
  });

  it('has its pods, and when its commit was rolled out', () => {
    expect(pods.filter(({ environment }) => environment === '').length).toBeGreaterThan(0);
    expect(pods.filter(({ environment }) => environment !== '').length).toBeGreaterThan(0);
    expect(deployments).toHaveLength(1);
    expect(deployments[0]?.servedFrom).toBeInstanceOf(Date);
  });
});

describe('an answer', () => {
  const hostile = 'a "b" <c> & `d`\n# e | f';
  const answer: LineageAnswer = {
    query: 'x',
    matches: [{ kind: 'model', id: 'x' }],
    more: false,
    releases: [
      {
        release: 'rel-obrvf5pl6mjrbv7u43m7',
        status: 'SUCCEEDED',
        model: hostile,
        repository: 'r',
        ref: 'main',
        planPath: 'throughline.yaml',
        commit: COMMIT,
        dataset: hostile,
        datasetDigest: null,
        parameters: {},
        metrics: null,
        training: { job: 'ns/job', image: null, startedAt: null, endedAt: null },
        pods: [],
        modelId: hostile,
        modelDigest: DIGEST,
        modelUri: null,
        image: 'i:t',
        imageDigest: DIGEST.replace('a1', 'b2'),
        baseImages: [],
        gitopsCommits: [COMMIT],
        deployments: [
          {
            environment: 'production',
            repository: 'g',
            manifest: 'm',
            commit: COMMIT,
            from: null,
            to: null,
          },
        ],
        traceId: TRACE,
        traceparent: '',
        execution: null,
        requestedBy: null,
        triggeredBy: null,
        approvals: [],
        rollback: null,
        problem: null,
        environments: [],
        requestedAt: '2026-01-01T00:00:00.000Z',
        endedAt: null,
        stages: [],
      },
    ],
  };

  it('is a graph in both languages, whatever things are called', () => {
    const dot = lineageDot(answer);
    // Every line is a statement: quotes are balanced, and no name breaks out of them.
    for (const line of dot.split('\n').slice(2, -1)) {
      expect(line.replaceAll(/\\./g, '').match(/"/g)?.length ?? 0, line).toSatisfy(
        (count: number) => count % 2 === 0,
      );
      expect(line).toMatch(/;$/);
    }
    const mermaid = lineageMermaid(answer).split('\n').slice(1);
    for (const line of mermaid)
      expect(line).toMatch(/^ {2}n\d+(?:\["(?:[^"<>&`\n]|<br\/>)*"\]| -->\|"[^"]*"\| n\d+)$/);
  });

  it('says where nothing is known to be served', () =>
    expect(lineageText(answer)).toContain('not known to have been rolled out'));
});

describe('the difference of two releases', () => {
  const base = {
    release: 'rel-a',
    status: 'SUCCEEDED',
    parameters: { EPOCHS: '15', SEED: '1' },
    metrics: { accuracy: 0.97 },
    stages: [
      {
        name: 'train',
        status: 'SUCCEEDED',
        startedAt: '2026-01-01T00:00:00Z',
        endedAt: '2026-01-01T00:10:00Z',
      },
    ],
    commit: COMMIT,
    dataset: 'digits@v1',
  } as unknown as ReleaseAnswer;

  it('is what differs, and how long the stages took', () => {
    const other = {
      ...base,
      release: 'rel-b',
      dataset: 'digits@v2',
      parameters: { EPOCHS: '20', RATE: '0.1' },
      metrics: { accuracy: 0.98 },
      stages: [{ ...base.stages[0], endedAt: '2026-01-01T00:20:00Z' }],
    } as unknown as ReleaseAnswer;
    expect(differenceOf(base, other)).toEqual({
      from: 'rel-a',
      to: 'rel-b',
      facts: [{ name: 'dataset', from: 'digits@v1', to: 'digits@v2' }],
      parameters: [
        { name: 'EPOCHS', from: '15', to: '20' },
        { name: 'SEED', from: '1', to: null },
        { name: 'RATE', from: null, to: '0.1' },
      ],
      metrics: [{ name: 'accuracy', from: 0.97, to: 0.98 }],
      stages: [{ name: 'train', from: 600, to: 1200 }],
    });
    const text = differenceText(differenceOf(base, other), { added: ['abc more epochs'], removed: [] });
    expect(text).toContain('digits@v1 → digits@v2');
    expect(text).toContain('+ abc more epochs');
    expect(text).toContain('+100 %');
  });

  it('of one with itself is nothing', () => {
    expect(differenceText(differenceOf(base, base), undefined)).toContain('nothing but the time differs');
  });

  it('names the layers that are new', () => {
    const layer = (digest: string) => ({ digest, size: 1 });
    expect(layerChange([layer('a'), layer('b')], [layer('a'), layer('c')])).toEqual({
      shared: 1,
      added: [layer('c')],
      removed: [layer('b')],
    });
  });
});
