// What a pull request says of a deployment, and what a release says of its pull request.
import { describe, expect, it } from 'vitest';
import { pullRequestText } from '../../../src/activities/forge/body.js';
import { evidenceOf } from '../../../src/activities/gitops/evidence.js';
import type { FieldChange } from '../../../src/activities/gitops/target.js';
import type { DeploymentProposal } from '../../../src/activities/index.js';
import { proposedIn } from '../../../src/domain/pull-request.js';
import { DIGEST as digest, RELEASE } from '../../support/evidence.js';
import { deploymentOf } from '../../support/gitops.js';

const PROPOSAL: DeploymentProposal = {
  change: deploymentOf('https://git.example/ml/gitops.git', 'app-1', RELEASE, {
    approval: { environment: 'production', decision: 'approved', by: 'bob', at: '2026-01-01T00:00:00Z' },
  }),
  evidence: {
    repository: 'https://git.example/ml/app-1.git',
    modelDigest: digest,
    metrics: [
      { name: 'accuracy', value: 0.97, gate: 'at least 0.95' },
      { name: 'loss', value: 'NaN' },
    ],
  },
  mode: { autoMerge: false, labels: [], timeout: 60 },
};

const change = (path: FieldChange['path'], before: unknown, after: unknown): FieldChange => ({
  file: 'k8s/deployment.yaml',
  document: 0,
  path,
  before,
  after,
});

describe('the evidence of a proposal', () => {
  it('names every field as people would, and what it becomes', () => {
    const { changes } = evidenceOf(PROPOSAL, [
      change(['spec', 'containers', 0, 'image'], 'app:1', 'app:2'),
      change(['metadata', 'annotations', 'a.example/b'], undefined, 'x'),
      change(['env'], undefined, [{ name: 'MODEL_ID', value: 'one' }]),
      change(['held'], 'why', undefined),
    ]);
    expect(changes.map(({ field, from, to }) => [field, from, to])).toEqual([
      ['spec.containers[0].image', 'app:1', 'app:2'],
      ['metadata.annotations."a.example/b"', undefined, 'x'],
      ['env', undefined, '[{"name":"MODEL_ID","value":"one"}]'],
      ['held', 'why', undefined],
    ]);
  });

  it('stands in the text: the image without its digest, numbers that are none, who approved', () => {
    const { body } = pullRequestText(evidenceOf(PROPOSAL, []));
    expect(body).toContain(`\`registry.example/ml/app-1:${RELEASE}\``);
    expect(body).toMatch(/\| `loss` \| `NaN` \| – \|/);
    expect(body).toContain('| `bob` |');
    expect(body).toContain(`Release-Id=${RELEASE} Environment=production`);
  });
});

describe('the pull request that a release waits for', () => {
  const proposed = [
    { environment: 'staging', url: 'https://git.example/1', number: 1, until: '2026-01-01T00:00:00Z' },
    { environment: 'production', url: 'https://git.example/2', number: 2, until: '2026-01-01T00:00:00Z' },
  ];
  const stages = [
    { name: 'deploy staging', status: 'SUCCEEDED' },
    { name: 'deploy production', status: 'RUNNING' },
  ];

  it('is that of the deployment that goes on, until it has its commit', () => {
    const staging = { environment: 'staging' };
    expect(proposedIn({ stages, proposed, deployments: [staging] })?.number).toBe(2);
    const both = [staging, { environment: 'production' }];
    expect(proposedIn({ stages, proposed, deployments: both })).toBeUndefined();
    expect(proposedIn({ stages, deployments: [] })).toBeUndefined();
  });
});
