// A deployment as the writer takes it: which fields of the target it sets, and what its commit says.
import { type CommitSha, type Digest, digestOf } from '../../domain/ids.js';
import type { GitOpsCommit } from '../../domain/release.js';
import { ATTR, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../../telemetry/attributes.js';
import type { DeploymentChange, HoldRequest, RollbackRequest, WriterRequest } from '../index.js';
import type { DeployChange, DeployEdit, GitOpsChange, HoldChange, RollbackChange } from './change.js';
import {
  type DeployTarget,
  type DesiredState,
  MODEL_ANNOTATION,
  MODEL_VARIABLE,
  RELEASE_ANNOTATION,
  type SaidFields,
} from './target.js';

/** What the writer of a branch was asked for, as it is written. */
export function gitOpsChange(asked: WriterRequest): GitOpsChange {
  if ('held' in asked) return holdChange(asked);
  return 'rollback' in asked ? rollbackChange(asked) : deployChange(asked);
}

function rollbackChange(asked: RollbackRequest): RollbackChange {
  const { repository, branch, release, model, environment, traceparent, requestedAt, rollback } = asked;
  return {
    repository,
    branch,
    ...targetOf(asked),
    kind: 'rollback',
    committedAt: rollback.at,
    message: { release, model, environment, traceparent, requestedAt, reason: rollback.reason },
  };
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
      rollsBack: change.rollsBack,
    },
  };
}

/** What was there before, as something that can be waited for; undefined where it was no deployment of ours. */
export function restoredChange(change: DeploymentChange, said: SaidFields): RestoredChange | undefined {
  const { image, modelId, annotations } = said;
  const traceparent = annotations[TRACE_ANNOTATION];
  const imageDigest = image === undefined ? undefined : digestOf(image);
  if (image === undefined || imageDigest === undefined || traceparent === undefined) return undefined;
  const env = modelId === undefined ? {} : { [MODEL_VARIABLE]: modelId };
  return { ...deployChange(change), desired: { image, env, annotations }, traceparent, imageDigest };
}

type RestoredChange = DeployChange & { readonly traceparent: string; readonly imageDigest: Digest };

/** As a release records it. */
export function committed(change: DeploymentChange, commit: CommitSha): GitOpsCommit {
  const { environment, repository, branch, manifest, container, kustomize, helm } = change;
  return { environment, repository, branch, manifest, container, kustomize, helm, commit };
}

/** Where it goes within the repository. */
export function targetOf<Target extends DeployTarget>({ manifest, container, kustomize, helm }: Target) {
  return { manifest, container: container ?? '', kustomize, helm };
}

/** The trace that the pods link to: of the release that has made what they run. */
export const servedTrace = ({ rollsBack, traceparent }: DeploymentChange) =>
  rollsBack?.to.traceparent ?? traceparent;

/** DESIGN §4, GitOps: what the pods will say of themselves. */
function desiredOf(change: DeploymentChange): DesiredState {
  const resource = (name: string) => `${RESOURCE_ANNOTATION_PREFIX}${name}`;
  return {
    image: change.image,
    env: { [MODEL_VARIABLE]: change.modelId },
    annotations: {
      [TRACE_ANNOTATION]: servedTrace(change),
      [RELEASE_ANNOTATION]: change.rollsBack?.to.release ?? change.release,
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
): DeployEdit {
  const { repository, branch } = target;
  const desired = {
    image: `registry.example/check:check@sha256:${'0'.repeat(64)}`,
    env: { [MODEL_VARIABLE]: 'check' },
    annotations: { [TRACE_ANNOTATION]: 'check', [MODEL_ANNOTATION]: 'check' },
  };
  return { repository, branch, ...targetOf(target), kind: 'deploy', desired };
}
