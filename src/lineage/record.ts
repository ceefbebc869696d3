// From the runs of a release, as Temporal has them, to the rows that are kept of it. Pure: the same history gives the
// same rows, whenever and wherever, so that the store can be made again and compared.
import type { SignedStatement } from '../domain/attested.js';
import type { Problem } from '../domain/errors.js';
import { digestOf, splitImage } from '../domain/ids.js';
import type { GitOpsCommit, PodRecord, Rollback } from '../domain/release.js';
import { parseTraceparent } from '../domain/trace.js';
import { withoutUser } from '../domain/urls.js';
import type { Closing, KnownRecord, ReleaseRun } from '../telemetry/history.js';
import { projectTrace } from '../telemetry/projection.js';
import type { AttestationRow, DeploymentRow, PodRow, ReleaseRow } from './schema.js';

/** Everything that is kept of one release. */
export interface LineageRecord {
  readonly release: ReleaseRow;
  readonly pods: readonly PodRow[];
  readonly deployments: readonly DeploymentRow[];
  readonly attestations: readonly AttestationRow[];
}

/** The runs of one release, the newest last: several where it was reset. */
export function lineageOf(runs: readonly ReleaseRun[]): LineageRecord {
  const newest = runs.at(-1);
  if (!newest) throw new Error('a release has at least one run');
  const { request, record, closing } = newest;
  const commits = commitsOf(newest);
  const training = record?.training;
  const { traceId } = parseTraceparent(request.trace.traceparent);
  const [jobNamespace, job] = splitName(training?.job);
  const status = record?.outcome?.status ?? (closing ? STATUS[closing.how] : 'RUNNING');
  // Names are the history's where the workflow has not said them: what failed in the middle had them too.
  const release: ReleaseRow = {
    id: request.release,
    status,
    model: record?.model ?? null,
    repository: withoutUser(request.repository),
    ref: request.ref,
    planPath: request.planPath,
    commit: record?.commit ?? null,
    datasetName: record?.dataset?.name ?? null,
    datasetVersion: record?.dataset?.version ?? null,
    datasetDigest: record?.dataset?.digest ?? training?.datasetDigest ?? null,
    parameters: parametersOf(newest) ?? request.parameters,
    metrics: training?.metrics ?? null,
    jobNamespace: jobNamespace ?? null,
    job: job ?? null,
    trainerImage: training?.image ?? null,
    trainerDigest: digestOf(training?.image) ?? null,
    trainingStartedAt: dateOf(training?.startedAt),
    trainingEndedAt: dateOf(training?.endedAt),
    modelId: training?.id ?? null,
    modelDigest: training?.digest ?? null,
    modelUri: training?.uri ?? null,
    image: record?.image?.name ?? null,
    imageRepository: record?.image ? splitImage(record.image.name).repository : null,
    imageDigest: record?.image?.digest ?? null,
    baseImages: record?.image?.baseImages ?? null,
    traceId,
    traceparent: request.trace.traceparent,
    ids: idsOf(runs, record),
    execution: request.spinnaker?.executionId ?? null,
    requestedBy: request.requestedBy ?? null,
    triggeredBy: request.triggeredBy ?? null,
    approvals: record?.approvals ?? null,
    environments: record?.environments ? [...record.environments] : null,
    requestedAt: new Date(request.requestedAt),
    startedAt: new Date(runs[0]?.startedAt ?? newest.startedAt),
    endedAt: dateOf(closing?.at),
    rollback: rollbackOf(request) ?? null,
    problem: problemOf(record, closing) ?? null,
    stages: (record?.stages ?? []).map(({ name, status: how, startedAt, endedAt }) => ({
      name,
      status: how,
      startedAt,
      ...(endedAt ? { endedAt } : {}),
    })),
    runStartedAt: new Date(newest.startedAt),
    events: newest.events.length,
  };
  return {
    release,
    pods: [
      ...(training?.pods ?? []).map((pod) => trainingPod(request.release, jobNamespace ?? '', pod)),
      ...commits.flatMap((commit) => servingPods(request.release, commit)),
    ],
    deployments: commits.map((commit) => deploymentRow(request.release, record, commit)),
    attestations: attestationsOf(newest),
  };
}

/** What a run without an outcome of its own ended as: as the gateway has it. */
const STATUS: Readonly<Record<Closing['how'], ReleaseRow['status']>> = {
  completed: 'SUCCEEDED',
  failed: 'FAILED',
  canceled: 'CANCELED',
  terminated: 'FAILED',
  'timed out': 'FAILED',
  continued: 'RUNNING',
};

function rollbackOf({ rollback }: ReleaseRun['request']): Rollback | undefined {
  if (!rollback) return undefined;
  const { made: _, ...named } = rollback; // what it brings back has made that
  return named;
}

function problemOf(
  record: KnownRecord | undefined,
  closing: Closing | undefined,
): Pick<Problem, 'code' | 'message'> | undefined {
  const { outcome } = record ?? {};
  if (outcome) return 'problem' in outcome ? outcome.problem : undefined;
  if (!closing || closing.how === 'completed' || closing.how === 'canceled') return undefined;
  return { code: 'TL_INTERNAL', message: `the workflow was ${closing.how}` };
}

/** Those of the plan, with the trigger's on top. */
function parametersOf({ activities }: ReleaseRun): ReleaseRow['parameters'] | undefined {
  const prepared = activities.find(({ type, result }) => type === 'prepareRelease' && result !== undefined);
  return (prepared?.result as { parameters?: ReleaseRow['parameters'] } | undefined)?.parameters;
}

/** What was signed, as the activity gave it: a signature is in no other place of the history. */
function attestationsOf({ request, activities }: ReleaseRun): AttestationRow[] {
  const signed = activities
    .filter(({ type }) => type === 'attestRelease')
    .flatMap(({ result }) => (result as readonly SignedStatement[] | undefined) ?? []);
  return [...new Map(signed.map((one) => [one.statement, one])).values()].map(
    ({ statement, predicateType, beside, bundle }) => ({
      release: request.release,
      statement,
      predicateType,
      beside,
      bundle,
    }),
  );
}

/** Activities whose result may be a commit: one that opens a pull request has none at first. */
const COMMITTING: ReadonlySet<string> = new Set([
  'commitDeployment',
  'findDeployment',
  'proposeDeployment',
  'awaitMerge',
  'withdrawProposal',
]);

/** What the workflow has said, and commits that were made when it was ended before it could. */
function commitsOf({ record, activities }: ReleaseRun): readonly GitOpsCommit[] {
  const said = record?.deployments ?? [];
  const made = activities
    .filter(({ type }) => COMMITTING.has(type))
    .flatMap(({ result }) => (result && 'commit' in (result as object) ? [result as GitOpsCommit] : []));
  const unsaid = made.filter(({ commit }) => !said.some((one) => one.commit === commit));
  return [...said, ...new Map(unsaid.map((one) => [`${one.environment} ${one.commit}`, one])).values()];
}

/** Every span of the trace, those of stages that go on too, every run, and every base image. */
function idsOf(runs: readonly ReleaseRun[], record: KnownRecord | undefined): string[] {
  const { spanId } = parseTraceparent(runs[0]?.request.trace.traceparent ?? '');
  const spans = projectTrace(runs).spans.map((span) => span.spanId);
  const stages = (record?.stages ?? []).flatMap((stage) => (stage.spanId ? [stage.spanId] : []));
  const bases = (record?.image?.baseImages ?? []).map(({ digest }) => digest);
  return [...new Set([spanId, ...stages, ...spans, ...runs.map(({ runId }) => runId), ...bases])].sort();
}

function trainingPod(release: string, namespace: string, pod: PodRecord): PodRow {
  return {
    release,
    namespace,
    name: pod.name,
    environment: '',
    uid: pod.uid,
    node: pod.node ?? null,
    image: pod.imageId ?? null,
    createdAt: dateOf(pod.createdAt),
    startedAt: dateOf(pod.startedAt),
    endedAt: dateOf(pod.endedAt ?? pod.goneAt),
    exitCode: pod.exitCode ?? null,
    ending: pod.end ?? null,
  };
}

/** Their names only: what else there is to say of them, they outlive. */
function servingPods(release: string, { environment, synced }: GitOpsCommit): PodRow[] {
  return (synced?.pods ?? []).map((name) => ({
    release,
    namespace: synced?.workload.namespace ?? '',
    name,
    environment,
    uid: null,
    node: null,
    image: null,
    createdAt: null,
    startedAt: null,
    endedAt: null,
    exitCode: null,
    ending: null,
  }));
}

function deploymentRow(
  release: string,
  record: KnownRecord | undefined,
  { environment, repository, branch, manifest, commit, synced }: GitOpsCommit,
): DeploymentRow {
  const stage = record?.stages.find(({ name }) => name === `deploy ${environment}`);
  // Where nobody waits for a roll-out (no Argo CD in the plan), the commit is all that is known.
  const waitsFor = stage?.status === 'SUCCEEDED' && !synced ? stage.endedAt : undefined;
  return {
    release,
    environment,
    model: record?.model ?? '',
    repository,
    branch,
    manifest,
    commit,
    cause: 'release',
    imageDigest: record?.image?.digest ?? null,
    application: synced?.application ?? null,
    revision: synced?.revision ?? null,
    workloadKind: synced?.workload.kind ?? null,
    workloadNamespace: synced?.workload.namespace ?? null,
    workload: synced?.workload.name ?? null,
    committedAt: dateOf(stage?.startedAt),
    servedFrom: dateOf(synced?.rolledOutAt ?? waitsFor),
  };
}

function splitName(job: string | undefined): [namespace: string | undefined, name: string | undefined] {
  if (job === undefined) return [undefined, undefined];
  const split = job.indexOf('/');
  return split < 0 ? [undefined, job] : [job.slice(0, split), job.slice(split + 1)];
}

function dateOf(time: string | undefined): Date | null {
  const at = time === undefined ? Number.NaN : Date.parse(time);
  return Number.isNaN(at) ? null : new Date(at);
}
