// Which source of an Argo CD Application deploys a file.
import { describe, expect, it } from 'vitest';
import {
  type Application,
  type ApplicationSource,
  covers,
  isValuesOf,
} from '../../src/activities/argocd/application.js';
import { Relations } from '../../src/activities/argocd/relations.js';
import type { ExpectedDeployment } from '../../src/activities/argocd/watcher.js';
import type { GitOpsRepository } from '../../src/activities/gitops/change.js';

const repoURL = 'https://git.example/ml/gitops.git';
const application = (...sources: ApplicationSource[]): Application => ({
  metadata: { name: 'digits' },
  spec: { sources },
});

describe('a source', () => {
  it.each([
    ['k8s', 'k8s/digits.yaml', true],
    ['./k8s/', 'k8s/digits.yaml', true],
    ['.', 'kustomization.yaml', true],
    ['k8s', 'k8s/production/digits.yaml', false],
    ['overlays/production', 'overlays/production/kustomization.yaml', true],
  ])('with path %s has %s: %s', (path, manifest, has) => {
    expect(covers({ repoURL, path }, manifest)).toBe(has);
  });

  it.each([
    ['of the chart', 'chart', 'values-production.yaml', 'chart/values-production.yaml', true],
    [
      'beside the chart',
      'charts/digits',
      '../../environments/production.yaml',
      'environments/production.yaml',
      true,
    ],
    ['from the root', 'charts/digits', '/environments/production.yaml', 'environments/production.yaml', true],
    [
      'of another environment',
      'charts/digits',
      '../../environments/staging.yaml',
      'environments/production.yaml',
      false,
    ],
  ])('renders a chart with values %s', (_, path, file, manifest, has) => {
    const source = { repoURL, path, helm: { valueFiles: [file] } };
    expect(isValuesOf(application(source), source, manifest)).toBe(has);
  });

  it('has values for the chart of another source that refers to it', () => {
    const values = { repoURL, ref: 'values', targetRevision: 'main' };
    const chart = (file: string) => ({
      repoURL: 'https://charts.example',
      chart: 'digits',
      helm: { valueFiles: ['$other/production.yaml', file] },
    });
    const has = (file: string) =>
      isValuesOf(application(chart(file), values), values, 'environments/production.yaml');
    expect(has('$values/environments/production.yaml')).toBe(true);
    expect(has('$values/environments/staging.yaml')).toBe(false);
    expect(isValuesOf(application(chart('$values/x')), { repoURL }, 'x')).toBe(false);
  });
});

describe('the workload that is watched', () => {
  const read: string[] = [];
  const gitops = {
    async fileAt(_: unknown, __: unknown, path: string) {
      read.push(path);
      return 'kind: Rollout\nmetadata: {name: digits}\nspec: {template: {spec: {containers: [{name: inference}]}}}';
    },
  } as unknown as GitOpsRepository;
  const watched = (target: object) => {
    const expected = { repository: repoURL, manifest: 'k8s/x.yaml', container: 'inference', ...target };
    return new Relations(gitops, expected as ExpectedDeployment, AbortSignal.timeout(1000)).workload();
  };

  it('is that of a plain manifest, at the commit', async () => {
    expect(await watched({})).toEqual({ kind: 'Rollout', name: 'digits' });
    expect(read).toEqual(['k8s/x.yaml']);
  });

  it('is what the plan names where files do not', async () => {
    expect(await watched({ kustomize: { workload: 'StatefulSet/digits' } })).toEqual({
      kind: 'StatefulSet',
      name: 'digits',
    });
    expect(await watched({ helm: { workload: 'Deployment/served' } })).toEqual({
      kind: 'Deployment',
      name: 'served',
    });
  });
});
