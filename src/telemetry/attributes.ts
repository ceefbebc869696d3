// Every name that Throughline puts on spans, annotations and labels, in one place. Where OpenTelemetry's semantic
// conventions (1.44) have a name it is that one; `ml.*` is the project's own, as there is no convention for classic
// models and datasets yet.

export const ATTR = {
  pipelineName: 'cicd.pipeline.name',
  pipelineRunId: 'cicd.pipeline.run.id',
  pipelineRunUrl: 'cicd.pipeline.run.url.full',
  pipelineAction: 'cicd.pipeline.action.name',
  pipelineRunState: 'cicd.pipeline.run.state',
  pipelineResult: 'cicd.pipeline.result',
  taskName: 'cicd.pipeline.task.name',
  taskType: 'cicd.pipeline.task.type',
  taskRunId: 'cicd.pipeline.task.run.id',
  taskRunUrl: 'cicd.pipeline.task.run.url.full',
  taskResult: 'cicd.pipeline.task.run.result',
  errorType: 'error.type',
  repositoryUrl: 'vcs.repository.url.full',
  headName: 'vcs.ref.head.name',
  headRevision: 'vcs.ref.head.revision',
  baseName: 'vcs.ref.base.name',
  changeId: 'vcs.change.id',
  changeState: 'vcs.change.state',
  environment: 'deployment.environment.name',
  imageName: 'container.image.name',
  imageTags: 'container.image.tags',
  imageRepoDigests: 'container.image.repo_digests',
  manifestDigest: 'oci.manifest.digest',
  jobName: 'k8s.job.name',
  modelId: 'ml.model.id',
  modelDigest: 'ml.model.digest',
  datasetName: 'ml.dataset.name',
  datasetVersion: 'ml.dataset.version',
  workerId: 'cicd.worker.id',
  namespace: 'k8s.namespace.name',
  podName: 'k8s.pod.name',
  podUid: 'k8s.pod.uid',
  nodeName: 'k8s.node.name',
  deploymentName: 'k8s.deployment.name',
  imageId: 'container.image.id',
  exitCode: 'process.exit.code',
  /** The project's own: no convention knows attempts (open-telemetry/semantic-conventions#1648). */
  attempt: 'throughline.attempt.number',
  attempts: 'throughline.attempt.count',
  attemptSilent: 'throughline.attempt.silent',
  podEnd: 'throughline.pod.end',
  application: 'throughline.argocd.application',
  approvalDecision: 'throughline.approval.decision',
  approvalBy: 'throughline.approval.by',
  approvalComment: 'throughline.approval.comment',
  checkName: 'throughline.verify.check',
  checkKind: 'throughline.verify.kind',
  checkFound: 'throughline.verify.found',
  checkSamples: 'throughline.verify.samples',
  /** Of metrics. */
  stage: 'throughline.stage',
  activity: 'throughline.activity',
  queueType: 'throughline.queue.type',
  requestMethod: 'http.request.method',
  route: 'http.route',
  responseStatus: 'http.response.status_code',
} as const;

/** Values of `cicd.pipeline.result` and `cicd.pipeline.task.run.result`. */
export type PipelineResult = 'success' | 'failure' | 'error' | 'timeout' | 'cancellation' | 'skip';

/** The pod annotation that links a running model to its release. */
export const TRACE_ANNOTATION = 'orchestration.trace_id';
/** The OpenTelemetry operator turns annotations with this prefix into resource attributes. */
export const RESOURCE_ANNOTATION_PREFIX = 'resource.opentelemetry.io/';

/** Prefix of labels and OCI annotations that have no standard name. */
export const LABEL_PREFIX = 'dev.throughline.';
