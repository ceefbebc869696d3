// A deployment as the writer takes it: which fields of the target it sets, and what its commit says.
import { ATTR, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../../telemetry/attributes.js';
import type { DeploymentChange, HoldRequest, WriterRequest } from '../index.js';
import type { DeployChange, GitOpsChange, GitOpsEdit, HoldChange } from './change.js';
import {
  type DeployTarget,
  type DesiredState,
  MODEL_ANNOTATION,
  MODEL_VARIABLE,
  RELEASE_ANNOTATION,
} from './target.js';

/** What the writer of a branch was asked for, as it is written. */
export function gitOpsChange(asked: WriterRequest): GitOpsChange {
  return 'reason' in asked ? holdChange(asked) : deployChange(asked);
}

function holdChange(asked: HoldRequest): HoldChange {
  const { repository, branch, held, model, environment, reason, by, requestedAt } = asked;
  return {
    repository,
    branch,
    ...targetOf(asked),
    kind: 'hold',
    hold: held ? reason : undefined,
    committedAt: requestedAt,
    message: { kind: held ? 'hold' : 'unhold', model, environment, reason, by },
  };
}

export function deployChange(change: DeploymentChange): DeployChange {
  const { repository, branch, committedAt } = change;
  return {
    repository,
    branch,
    ...targetOf(change),
    kind: 'deploy',
    desired: desiredOf(change),
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
  return { repository, branch, ...targetOf(target), kind: 'deploy', desired };
}
