// Every failure that a person can meet has a stable code, says what was expected, what was found, where, and what
// to do. The registry below is the only place where codes are defined; docs/errors.md is written from it, and a
// test holds the two together. This file is free of I/O and of Node: workflow code uses it too.

/** What a code means, for the documentation and for HTTP. */
export interface ErrorKind {
  /** One line: when does this happen? */
  readonly title: string;
  /** One line: what can the reader do about it? */
  readonly remedy: string;
  /** Status of an HTTP answer that carries this code. */
  readonly http: number;
}

const kind = (http: number, title: string, remedy: string): ErrorKind => ({ http, title, remedy });

export const ERROR_KINDS = {
  TL_APPLICATION_MISMATCH: kind(
    422,
    'The Argo CD Application does not watch what the plan deploys to.',
    'Correct `argocd.application`, `repository`, `branch` or `manifest` in the plan, or the source of the Application.',
  ),
  TL_APPLICATION_NOT_FOUND: kind(
    422,
    'There is no Argo CD Application of that name.',
    'Correct `argocd.application` and `argocd.namespace` in the plan, or create the Application.',
  ),
  TL_APPROVAL_EXPIRED: kind(
    422,
    'Nobody approved the deployment before its deadline.',
    'Nothing was deployed there. Trigger again when somebody can look at it; `approvalTimeout` in the plan sets the deadline.',
  ),
  TL_APPROVAL_NOT_AWAITED: kind(
    409,
    'The release does not wait for an approval.',
    '`throughline status RELEASE` says what it is doing; one that has been decided on stays as it was decided.',
  ),
  TL_APPROVAL_REFUSED: kind(
    422,
    'Somebody refused the deployment.',
    'Nothing was deployed there. Read the comment; mend what it says, then trigger again.',
  ),
  TL_APPROVAL_SAME_PERSON: kind(
    403,
    'Whoever triggered a release may not approve it here.',
    'Ask somebody else: the server’s configuration says `approval.separate`.',
  ),
  TL_ATTESTATION_INVALID: kind(
    422,
    'What is attested of an image does not hold, so that it is not deployed again.',
    'Read which check failed; `throughline verify` shows all of them. Roll back to another release, or build anew.',
  ),
  TL_BASE_IMAGE_UNAVAILABLE: kind(
    422,
    'A base image of the Dockerfile could not be pulled.',
    'Make the registry reachable from the builder, or give the image as a named context: THROUGHLINE_BUILD_CONTEXTS="golang:1.26=container-image://localhost/golang:1.26".',
  ),
  TL_BUILDER_UNREACHABLE: kind(
    503,
    'The image builder, its registry or the git server of the build did not answer.',
    'Nothing to do where it comes back: it is waited for. Look at buildkitd and at the registry otherwise.',
  ),
  TL_BUILD_FAILED: kind(
    422,
    'The image builder ended with an error.',
    'Read the last lines of the build, which the message carries; run the named build by hand with the same arguments.',
  ),
  TL_CATALOG_UNREACHABLE: kind(
    503,
    'The endpoint of OpenLineage did not take an event.',
    'Nothing to do where it comes back: events are kept in the lineage store, and sent in their order. Look at OPENLINEAGE_URL and OPENLINEAGE_API_KEY otherwise.',
  ),
  TL_CHANGED_BY_HAND: kind(
    409,
    'Somebody changed by hand what the release would set, after it had been asked for.',
    'Look at the commit that the message names; a new release replaces what it changed, this one does not.',
  ),
  TL_COLLECTOR_UNREACHABLE: kind(
    503,
    'The OTLP endpoint did not take the spans.',
    'Look at the collector and at the address; the trace can be sent again at any time, with the same ids.',
  ),
  TL_CONFIG_INVALID: kind(
    400,
    'A setting of the server, the worker or the command line is not usable.',
    'Correct the setting that the message names.',
  ),
  TL_DATA_DIR_IN_USE: kind(
    409,
    'Another `throughline dev` is running on this data directory.',
    'Stop it, or choose another directory with --data.',
  ),
  TL_DEPLOYMENT_UNHEALTHY: kind(
    422,
    'Argo CD synced the commit, and what it deployed does not become healthy.',
    'Read the message of the pods, which the error carries; the GitOps commit stands until it is reverted.',
  ),
  TL_DRAINING: kind(
    503,
    'The gateway is about to end, and another one takes over.',
    'Ask again: whoever balances the load sends the next request elsewhere.',
  ),
  TL_EVENTS_UNREACHABLE: kind(
    503,
    'Somebody who is to be told of releases did not take an event.',
    'Nothing to do where it comes back: events are sent in their order until they are taken. Look at its URL and secret otherwise.',
  ),
  TL_FILE_NOT_FOUND: kind(
    422,
    'A file or directory that the plan names does not exist at the commit.',
    'Correct the path in the plan, or commit the file.',
  ),
  TL_FORBIDDEN: kind(
    403,
    'The caller may not do that.',
    'Ask an operator for a grant: authentication in the server’s configuration says who may do what.',
  ),
  TL_FORGE_DENIED: kind(
    403,
    'The forge of the GitOps repository does not let the worker do that.',
    'Give the token of `forges` in the configuration the right to write contents and pull requests of the repository.',
  ),
  TL_FORGE_UNKNOWN: kind(
    422,
    'No forge is configured for the GitOps repository.',
    'Add it to `forges` in the configuration: what its URLs start with, of which kind it is, and a token.',
  ),
  TL_FORGE_UNREACHABLE: kind(
    503,
    'The forge of the GitOps repository did not answer.',
    'Nothing to do where it comes back: it is waited for, and asked no sooner than it says. Check `apiUrl` in the configuration otherwise.',
  ),
  TL_GATEWAY_UNREACHABLE: kind(
    503,
    'The gateway did not answer a command.',
    'Check its address: --gateway, or THROUGHLINE_GATEWAY_URL.',
  ),
  TL_IDEMPOTENCY_KEY_REUSED: kind(
    409,
    'The idempotency key was used before, for a different request.',
    'Use a new key for a new request; repeat the first request unchanged to get its release.',
  ),
  TL_IDENTITY_UNREACHABLE: kind(
    503,
    'The keys of an identity provider could not be had.',
    'Nothing to do where it comes back. Look at the issuer and at the network between the gateway and it otherwise.',
  ),
  TL_IMAGE_NOT_FOUND: kind(
    422,
    'A registry has no image of that name and tag.',
    'Correct the image in the training manifest, or push it.',
  ),
  TL_INTERNAL: kind(
    500,
    'Something that should not happen happened inside Throughline.',
    'Look for the trace id in the logs, and report it with the message.',
  ),
  TL_JOB_FOREIGN: kind(
    409,
    'There is a Job of the derived name that this release did not make.',
    'Look who made it; delete it, then trigger the release with a new key.',
  ),
  TL_JOB_INVALID: kind(
    422,
    'The training manifest is not one usable batch/v1 Job.',
    'Correct the manifest; `kubectl create --dry-run=client -f` shows what Kubernetes thinks of it.',
  ),
  TL_JOB_REMOVED: kind(
    409,
    'The training Job was deleted by somebody else while it ran.',
    'Trigger the release again; use `throughline cancel` to end one.',
  ),
  TL_JOB_UNSUPPORTED: kind(
    422,
    'The training manifest uses something that this runtime cannot give it.',
    'Use the kubernetes runtime for this plan, or leave that part out of the manifest.',
  ),
  TL_KUBERNETES_DENIED: kind(
    403,
    'The Kubernetes API does not allow the worker what it has to do.',
    'Apply the Roles of deploy/kubernetes/access in the namespace that the message names.',
  ),
  TL_KUBERNETES_UNREACHABLE: kind(
    503,
    'The Kubernetes API did not answer.',
    'Nothing to do where it comes back: it is waited for. Check the address in the kubeconfig otherwise.',
  ),
  TL_LINEAGE_UNKNOWN: kind(
    404,
    'No release that is known has to do with this id.',
    'Give it whole, as it stood where you found it: an id of a trace, a span, a commit, an image, a model, a dataset, a pod, a Job, a release or an execution.',
  ),
  TL_MANIFEST_AMBIGUOUS: kind(
    422,
    'More than one workload of the GitOps manifest has the named container.',
    'Name a manifest with one such workload, or give the containers different names.',
  ),
  TL_MANIFEST_CONTAINER_MISSING: kind(
    422,
    'No workload of the GitOps manifest has the named container.',
    'Correct `container` in the plan; the message lists the containers that exist.',
  ),
  TL_MANIFEST_INVALID: kind(
    422,
    'The GitOps manifest cannot be read, or cannot be edited without changing what is not ours.',
    'Correct the manifest at the place that the message names.',
  ),
  TL_METRIC_BELOW_GATE: kind(
    422,
    'A metric of the trained model does not meet the gate of the plan.',
    'Nothing was built or deployed. Improve the model, or change `evaluate.accept` in the plan.',
  ),
  TL_METRIC_MISSING: kind(
    422,
    'The gate names a metric that the training program did not report.',
    'Report the metric in RESULT_FILE, or correct its name in `evaluate.accept`.',
  ),
  TL_METRIC_NOT_FINITE: kind(
    422,
    'A metric that the gate names is NaN or infinite.',
    'Nothing was built or deployed. The training probably diverged: look at its log.',
  ),
  TL_MODEL_INVALID: kind(
    422,
    'The model that the training program left cannot be handed over.',
    'Write regular files below MODEL_OUTPUT, and report a sha256 digest where one is reported.',
  ),
  TL_MODEL_MISSING: kind(
    422,
    'The training program ended well but left no model.',
    'Write the model below MODEL_OUTPUT, or report its uri and digest.',
  ),
  TL_NOT_ALLOWED: kind(
    403,
    'The release reaches beyond what the server’s configuration allows.',
    'Use what is allowed; or an operator adds it to `allow` in the server’s configuration.',
  ),
  TL_PARAMETER_UNKNOWN: kind(
    422,
    'A trigger sets a parameter that the plan does not declare.',
    'Declare it under `train.parameters`, or correct its name.',
  ),
  TL_PATH_UNSAFE: kind(
    422,
    'A path leaves the repository, or goes through a symbolic link.',
    'Use a path relative to the root of the repository, without `..` and without symbolic links.',
  ),
  TL_PLAN_INVALID: kind(
    422,
    'The plan does not follow its schema.',
    'Correct the plan at the line that the message names; `throughline validate` checks it, `throughline schema` prints the schema.',
  ),
  TL_PLAN_NOT_FOUND: kind(
    422,
    'There is no plan at the given path.',
    'Commit a throughline.yaml, or name its path in the trigger.',
  ),
  TL_PLAN_TOO_LARGE: kind(
    422,
    'The plan, or a manifest that it names, is larger than a plan can be.',
    'Keep the plan below 256 KiB and manifests below 4 MiB.',
  ),
  TL_PLAN_UNSUPPORTED: kind(
    422,
    'The plan asks for something that this version does not do yet.',
    'Leave it out, or use a version that has it; the message names what it is.',
  ),
  TL_POD_UNSTARTABLE: kind(
    422,
    'No pod of the training Job could start within its deadline.',
    'The message says what it waits for: correct the manifest, or make room; THROUGHLINE_POD_START_TIMEOUT sets the deadline.',
  ),
  TL_PULL_REQUEST_CHANGED: kind(
    409,
    'What was merged is not what the release proposed.',
    'Look at what the pull request has besides the release’s commit, and at what was merged after it. Trigger again.',
  ),
  TL_PULL_REQUEST_CLOSED: kind(
    409,
    'Somebody closed the pull request of the deployment without merging it.',
    'Nothing was deployed there. Read what they say in the pull request; trigger again for a new one.',
  ),
  TL_PULL_REQUEST_EXPIRED: kind(
    422,
    'Nobody merged the pull request of the deployment before its deadline.',
    'Nothing was deployed there. The message says what it waited for; trigger again when somebody can look at it.',
  ),
  TL_PULL_REQUEST_REFUSED: kind(
    422,
    'The forge refuses the pull request, or its merge.',
    'Read the message of the forge: a rule of the branch, a method of merging that the repository does not allow.',
  ),
  TL_PUSH_REJECTED: kind(
    422,
    'The GitOps remote refuses the push for a reason that a new try does not cure.',
    'Read the message of the server: a protected branch, a hook, a quota. docs/git.md says what a worker’s account needs.',
  ),
  TL_QUOTA_EXCEEDED: kind(
    422,
    'A quota of the namespace has no room for the training Job.',
    'Wait for other Jobs to end, raise the quota, or lower the requests in the manifest; then trigger the release again.',
  ),
  TL_RATE_LIMITED: kind(
    429,
    'The caller sends more requests than it may.',
    'Send fewer: the header Retry-After says when the next one is taken.',
  ),
  TL_REF_NOT_FOUND: kind(
    422,
    'The repository has no such branch, tag or commit.',
    'Correct `ref`, or push it first.',
  ),
  TL_REGISTRY_DENIED: kind(
    403,
    'A registry does not let the worker read an image.',
    'Give the worker credentials: DOCKER_CONFIG with a config.json, mounted from a Secret.',
  ),
  TL_REGISTRY_UNREACHABLE: kind(
    503,
    'A registry did not answer.',
    'Nothing to do where it comes back: it is waited for. Check its address and certificate otherwise.',
  ),
  TL_RELEASE_NOT_FOUND: kind(
    404,
    'There is no such release.',
    'Check the id; `throughline list` shows the releases that Temporal knows.',
  ),
  TL_RELEASE_SUPERSEDED: kind(
    409,
    'A newer release of the same model already owns this environment.',
    'Nothing to do: the newer one is deployed. Trigger again to deploy this commit on purpose.',
  ),
  TL_REPOSITORY_DENIED: kind(
    422,
    'The git server refuses access to the repository.',
    'Give the worker credentials for it: `git.access` in the server’s configuration, or git’s own helpers (docs/git.md).',
  ),
  TL_REPOSITORY_INVALID: kind(
    400,
    'The repository is no git URL that a release may use.',
    'Use an https, ssh or file URL, or an absolute path on the worker.',
  ),
  TL_REPOSITORY_NOT_FOUND: kind(
    422,
    'There is no git repository at the URL.',
    'Correct the URL, or give the worker access: servers answer "not found" to those who may not see it.',
  ),
  TL_REPOSITORY_UNREACHABLE: kind(
    503,
    'The git server does not answer.',
    'Check the URL and the network between the worker and the server; then trigger again.',
  ),
  TL_REQUEST_INVALID: kind(
    400,
    'The request is not of the form that the API takes.',
    'Correct the field that the message names; /openapi.json describes the API.',
  ),
  TL_REQUEST_TIMEOUT: kind(
    408,
    'The request was not sent in time.',
    'Send the whole request within 30 seconds.',
  ),
  TL_REQUEST_TOO_LARGE: kind(413, 'The body of the request is too large.', 'Send less than 1 MiB.'),
  TL_RESULT_MISSING: kind(
    422,
    'The training program ended well but reported nothing readable.',
    'Write the result as JSON to RESULT_FILE, or print MODEL_ID=… and accuracy=… lines.',
  ),
  TL_RESULT_UNREADABLE: kind(
    422,
    'What the training program wrote to RESULT_FILE is not a result.',
    'Write one JSON object of at most 4096 bytes: {"model":{"id","uri","digest"},"metrics":{…}}.',
  ),
  TL_ROLLBACK_IMPOSSIBLE: kind(
    409,
    'There is nothing to roll back, or nothing to roll back to.',
    'Name a release that has deployed there with --to; `throughline list --model M --environment E` shows them.',
  ),
  TL_ROUTE_NOT_FOUND: kind(404, 'The API has no such route.', '/openapi.json describes the API.'),
  TL_SIGNING_FAILED: kind(
    503,
    'A statement or a commit could not be signed.',
    'Look at the signing command: it gets the bytes on standard input, and writes the signature to standard output. Of commits: at `git.signing` in the server’s configuration.',
  ),
  TL_STORE_MISSING: kind(
    404,
    'This gateway has no lineage store, and so no lineage and no audit log.',
    'Set THROUGHLINE_DATABASE_URL for gateways and workers.',
  ),
  TL_STORE_UNREACHABLE: kind(
    503,
    'The lineage store did not answer.',
    'Look at the database and at THROUGHLINE_DATABASE_URL. Releases go on without it; what they did is written when it is back.',
  ),
  TL_SYNC_BLOCKED: kind(
    422,
    'Argo CD did not sync the commit, because it may not.',
    'The message says what holds it back: a sync window, a paused or manual sync policy. The GitOps commit stands; sync it by hand, or revert it.',
  ),
  TL_SYNC_FAILED: kind(
    422,
    'Argo CD’s sync of the commit failed.',
    'Read Argo CD’s message, which the error carries; the GitOps commit stands until it is reverted.',
  ),
  TL_SYNC_REVERTED: kind(
    409,
    'What Argo CD runs is no longer what the release committed.',
    'Somebody rolled back or changed it by hand: look at the history of the manifest and of the Application.',
  ),
  TL_SYNC_TIMEOUT: kind(
    504,
    'Argo CD did not run the commit before the deadline.',
    'The message says how far it came. The GitOps commit stands, and may still be synced; `argocd.timeout` in the plan sets the deadline.',
  ),
  TL_TARGET_HELD: kind(
    409,
    'Somebody keeps releases away from the target.',
    'Read the reason, and ask whoever gave it; `throughline unhold MODEL --environment E` lets releases in again.',
  ),
  TL_TEMPORAL_UNAVAILABLE: kind(
    503,
    'Temporal cannot be reached.',
    'Check TEMPORAL_ADDRESS and that the server runs; nothing was started, so the same request can be sent again.',
  ),
  TL_TOOL_MISSING: kind(
    422,
    'A program that is needed here is not installed.',
    'Install it as the message says.',
  ),
  TL_TRACEPARENT_INVALID: kind(
    400,
    'The traceparent is not one of W3C Trace Context.',
    'Send 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, neither id all zeros, or leave it out.',
  ),
  TL_TRAINING_FAILED: kind(
    422,
    'The training program failed, and its Job allows no further try.',
    'Read the end of its log, which the message carries; `throughline logs RELEASE` shows all of it.',
  ),
  TL_TRAINING_TIMEOUT: kind(
    422,
    'The training took longer than the plan or its Job allows.',
    'Raise `train.timeout` or `activeDeadlineSeconds`, or make the training shorter.',
  ),
  TL_UNAUTHENTICATED: kind(
    401,
    'The gateway does not know who is asking.',
    'Send `Authorization: Bearer …` with a token that is valid, or sign the request.',
  ),
  TL_VERIFICATION_FAILED: kind(
    422,
    'A check of the deployment, as `verify` in the plan has it, did not pass.',
    'The message says what was expected and what was found. Later environments were left alone; the deployment was taken back where the plan says `rollback: automatic`, and stands otherwise. Correct the model or the check, then trigger again.',
  ),
  TL_WAITED_TOO_LONG: kind(
    503,
    'Something that the release waits for did not come back within its deadline.',
    'Look at what the message says is being waited for, mend it, then trigger again.',
  ),
} as const satisfies Record<string, ErrorKind>;

export type ErrorCode = keyof typeof ERROR_KINDS;
