// A deployment as the writer takes it: which fields of the target it sets, and what its commit says.
import type { CommitSha } from '../../domain/ids.js';
import type { GitOpsCommit } from '../../domain/release.js';
import { ATTR, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../../telemetry/attributes.js';
import type { DeploymentChange } from '../index.js';
import type { GitOpsChange, GitOpsEdit } from './change.js';
import {
  type DeployTarget,
  type DesiredState,
  MODEL_ANNOTATION,
  MODEL_VARIABLE,
  RELEASE_ANNOTATION,
} from './target.js';

export function gitOpsChange(change: DeploymentChange): GitOpsChange {
  const { repository, branch, committedAt } = change;
  return {
    repository,
    branch,
    ...targetOf(change),
    wish: { kind: 'deploy', desired: desiredOf(change) },
    committedAt,
    message: {
      release: change.release,
      traceparent: change.traceparent,
      tracestate: change.tracestate,
      baggage: change.baggage,
      model: change.model,
      modelId: change.modelId,
      imageDigest: change.imageDigest,
      sourceCommit: change.sourceCommit,
      datasetVersion: change.dataset.version,
      environment: change.environment,
      requestedAt: change.requestedAt,
      approval: change.approval,
    },
  };
}

/** As a release records it. */
export function committed(change: DeploymentChange, commit: CommitSha): GitOpsCommit {
  const { environment, repository, branch, manifest } = change;
  return { environment, repository, branch, manifest, commit };
}

/** Where it goes within the repository. */
export function targetOf<Target extends DeployTarget>({ manifest, container, kustomize, helm }: Target) {
  return { manifest, container: container ?? '', kustomize, helm };
}

/** DESIGN §4, GitOps: what the pods will say of themselves. */
function desiredOf(change: DeploymentChange): DesiredState {
  const resource = (name: string) => `${RESOURCE_ANNOTATION_PREFIX}${name}`;
  return {
    image: change.image,
    env: { [MODEL_VARIABLE]: change.modelId },
    annotations: {
      [TRACE_ANNOTATION]: change.traceparent,
      [RELEASE_ANNOTATION]: change.release,
      [MODEL_ANNOTATION]: change.modelId,
      [resource(ATTR.headRevision)]: change.sourceCommit,
      [resource(ATTR.datasetName)]: change.dataset.name,
      [resource(ATTR.datasetVersion)]: change.dataset.version,
    },
  };
}

/** An edit of the same shape as the real one: whether it can be made is known before training begins. */
export function placeholderEdit(
  target: DeployTarget & Pick<DeploymentChange, 'repository' | 'branch'>,
): GitOpsEdit {
  const { repository, branch } = target;
  const desired = {
    image: `registry.example/check:check@sha256:${'0'.repeat(64)}`,
    env: { [MODEL_VARIABLE]: 'check' },
    annotations: { [TRACE_ANNOTATION]: 'check', [MODEL_ANNOTATION]: 'check' },
  };
  return { repository, branch, ...targetOf(target), wish: { kind: 'deploy', desired } };
}
