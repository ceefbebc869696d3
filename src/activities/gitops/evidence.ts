// What the pull request of a deployment says of it, from what the release knows and what its change does. Pure.
import type { MetricEvidence, PullRequestEvidence } from '../forge/index.js';
import type { DeploymentProposal } from '../index.js';
import type { FieldChange } from './target.js';

export function evidenceOf(
  { change, evidence }: DeploymentProposal,
  changes: readonly FieldChange[],
): PullRequestEvidence {
  const { environment, model, modelId, approval, dataset, sourceCommit, traceparent } = change;
  return {
    release: { id: change.release, url: evidence.url },
    requestedAt: change.requestedAt,
    environment,
    model,
    modelId,
    modelDigest: evidence.modelDigest,
    source: { repository: evidence.repository, commit: sourceCommit },
    dataset: { ...dataset, digest: evidence.datasetDigest },
    metrics: evidence.metrics.map(
      ({ name, value, gate }): MetricEvidence => ({
        name,
        value: Number(value),
        gate,
      }),
    ),
    image: { name: change.image.split('@', 1)[0] ?? '', digest: change.imageDigest },
    traceparent,
    approvals: approval ? [approval] : [],
    changes: changes.map(({ file, path, before, after }) => ({
      file,
      field: pathText(path),
      from: valueText(before),
      to: valueText(after),
    })),
  };
}

/** `spec.template.spec.containers[0].image`; a key with a dot in it in quotes. */
function pathText(path: FieldChange['path']): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      const key = /^[\w-]+$/.test(step) ? step : JSON.stringify(step);
      return index === 0 ? key : `.${key}`;
    })
    .join('');
}

function valueText(value: unknown): string | undefined {
  return value === undefined || typeof value === 'string' ? value : JSON.stringify(value);
}
