// A deployment as the writer takes it: which fields of the manifest it sets, and what its commit says.
import { ATTR, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../../telemetry/attributes.js';
import type { DeploymentChange } from '../index.js';
import type { GitOpsChange, GitOpsEdit } from './change.js';
import { editManifest, type ManifestChange, MODEL_VARIABLE } from './manifest.js';

export function gitOpsChange(change: DeploymentChange): GitOpsChange {
  const { repository, branch, manifest, committedAt } = change;
  return {
    repository,
    branch,
    manifest,
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
    edit: editing(manifest, manifestChange(change)),
  };
}

/** The edit of a manifest's file. */
function editing(manifest: string, change: ManifestChange): GitOpsEdit['edit'] {
  return async (read) => {
    const before = await read(manifest);
    if (before === undefined) return [];
    const text = editManifest(before, manifest, change);
    return text === before ? [] : [{ path: manifest, text }];
  };
}

/** DESIGN §4, GitOps: what the pods will say of themselves. */
function manifestChange(change: DeploymentChange): ManifestChange {
  const resource = (name: string) => `${RESOURCE_ANNOTATION_PREFIX}${name}`;
  return {
    container: change.container,
    image: change.image,
    env: { [MODEL_VARIABLE]: change.modelId },
    annotations: {
      [TRACE_ANNOTATION]: change.traceparent,
      [resource(ATTR.pipelineRunId)]: change.release,
      [resource(ATTR.modelId)]: change.modelId,
      [resource(ATTR.headRevision)]: change.sourceCommit,
      [resource(ATTR.datasetName)]: change.dataset.name,
      [resource(ATTR.datasetVersion)]: change.dataset.version,
    },
  };
}

/** An edit of the same shape as the real one: whether it can be made is known before training begins. */
export function placeholderEdit(
  target: Pick<DeploymentChange, 'repository' | 'branch' | 'manifest' | 'container'>,
): GitOpsEdit {
  const { repository, branch, manifest, container } = target;
  const zeros = '0'.repeat(64);
  const change = {
    container,
    image: `registry.example/check:check@sha256:${zeros}`,
    env: { [MODEL_VARIABLE]: 'check' },
    annotations: { [TRACE_ANNOTATION]: 'check', [`${RESOURCE_ANNOTATION_PREFIX}${ATTR.modelId}`]: 'check' },
  };
  return { repository, branch, manifest, edit: editing(manifest, change) };
}
