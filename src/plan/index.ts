// The plan: what a release is to do, as the model's repository says it. No I/O besides reading its files.
export { formatDuration, parseDuration } from './duration.js';
export { directoryFiles, normalizePath, type SourceFiles, symbolicLink, tooLarge } from './files.js';
export {
  DEFAULT_BACKOFF_LIMIT,
  type JobContainer,
  type JobManifest,
  parseJobManifest,
  sealJob,
  trainingContainer,
} from './job.js';
export {
  DEFAULT_PLAN_PATH,
  type LoadedPlan,
  loadPlan,
  type PlanCheck,
  parsePlan,
  type VerifyJob,
} from './load.js';
export type { PlaceholderValues } from './placeholders.js';
export type { PullRequestMode } from './pull-request.js';
export {
  type AcceptanceRule,
  type Deployment,
  HOLDS_SECRET,
  type Plan,
  parametersSchema,
  planJsonSchema,
  REPOSITORY_PATTERN,
} from './schema.js';
export { containerOf, type HelmTarget, type KustomizeTarget, parseValuesPath } from './target.js';
export type { HealthCheck, HttpCheck, JobCheck, PrometheusCheck, VerifyCheck } from './verify.js';
export { MAX_MANIFEST_BYTES } from './yaml.js';
