// Releases as events of OpenLineage: what a consumer relies on. The shape itself was held to the specification's schemas.
import { describe, expect, it } from 'vitest';
import { openLineageOf } from '../../src/lineage/openlineage.js';
import { lineageOf } from '../../src/lineage/record.js';
import { keptRun } from '../support/lineage.js';

const record = lineageOf([keptRun('0.2.0/succeeded.json')]);
const events = openLineageOf(record, 'ml');
const of = (job: string) => events.filter(({ event }) => event.job.name === job).map(({ event }) => event);

describe('the events of a release', () => {
  it('are the same each time', () => expect(openLineageOf(record, 'ml')).toEqual(events));

  it('begin and end each run once, in that order', () => {
    const runs = new Map<string, string[]>();
    for (const { event } of events)
      runs.set(event.run.runId, [...(runs.get(event.run.runId) ?? []), event.eventType]);
    expect([...runs.values()]).toEqual(Array(4).fill(['START', 'COMPLETE']));
    for (const id of runs.keys())
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(events.map(({ event }) => event.eventTime)).toEqual(
      events.map(({ event }) => event.eventTime).sort(),
    );
  });

  it('lead from the dataset to the deployment: what one makes the next takes', () => {
    const names = ({ namespace, name, facets }: (typeof events)[number]['event']['inputs'][number]) =>
      `${namespace} ${name} ${facets.version?.datasetVersion}`;
    const chain = ['train', 'build', 'deploy.production'].map((job) => of(`succeeded.${job}`)[1]);
    expect(chain[0]?.inputs.map(names)).toEqual(['ml numbers v1']);
    expect(chain[1]?.inputs.map(names)).toEqual(chain[0]?.outputs.map(names));
    expect(chain[2]?.inputs.map(names)).toEqual(chain[1]?.outputs.map(names));
    expect(chain[2]?.outputs).toMatchObject([
      { name: 'k8s/deployment.yaml', facets: { version: { datasetVersion: record.deployments[0]?.commit } } },
    ]);
  });

  it('say which commit was used', () =>
    expect(of('succeeded.train')[0]?.job.facets.sourceCodeLocation).toMatchObject({
      type: 'git',
      version: record.release.commit,
    }));

  it('end what a release was at when it was ended from outside', () => {
    const { release } = record;
    const stages = release.stages
      .slice(0, 2)
      .map(({ endedAt: _, ...stage }) => ({ ...stage, status: 'RUNNING' as const }));
    const ended = openLineageOf({ ...record, release: { ...release, status: 'FAILED', stages } }, 'ml');
    expect(ended.map(({ event }) => `${event.eventType} ${event.job.name}`)).toEqual([
      'START succeeded',
      'START succeeded.train',
      'ABORT succeeded.train',
      'FAIL succeeded',
    ]);
  });

  it('are none before it is known what it is of', () =>
    expect(openLineageOf({ ...record, release: { ...record.release, model: null } }, 'ml')).toEqual([]));
});
