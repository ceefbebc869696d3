// A release, from a commit to a deployed model. This is what Throughline does; everything else is how.
//
// Changing this file changes running releases: guard what alters the order of commands with `patched()`, and keep the
// histories in test/histories replaying (I10).
import {
  CancellationScope,
  CancelledFailure,
  isCancellation,
  ParentClosePolicy,
  patched,
  startChild,
} from '@temporalio/workflow';
import type { DeploymentChange, PreparedRelease } from '../activities/index.js';
import type { ApprovalRecord } from '../domain/approval.js';
import { jobNameOf, type ReleaseId } from '../domain/ids.js';
import type {
  BuiltImage,
  Made,
  Outcome,
  ReleaseRecord,
  ReleaseRequest,
  Rollback,
  TrainedModel,
} from '../domain/release.js';
import type { TraceCarrier } from '../domain/trace.js';
import type { Deployment } from '../plan/schema.js';
import { Approvals } from './approval.js';
import { attestedOf } from './attest.js';
import { Begun } from './begun.js';
import { asWorkflowFailure, problemOf } from './failures.js';
import { judge } from './gate.js';
import { imageAnnotations, trainerAnnotations } from './image.js';
import { LeaseExpired, leased } from './lease.js';
import { activities } from './policies.js';
import { ReleaseProgress, StageEnded } from './progress.js';
import { proposalOf, viaPullRequest } from './pull-request.js';
import { takeBack } from './rollback.js';
import { synced } from './sync.js';
import type { deliverTrace } from './trace-delivery.js';
import { verify } from './verify.js';

/** How long a Job may wait to be admitted, before its own timeout begins to count. */
const QUEUE_SECONDS = 7 * 86_400;

export async function release(request: ReleaseRequest): Promise<ReleaseRecord> {
  const progress = new ReleaseProgress(request);
  const begun = new Begun(request);
  const approvals = new Approvals(request, progress);
  // 0.1.0 checked targets and resolved the trainer's image after the plan was prepared, and waited for its Job to be let go of.
  const atOnce = patched('checks-at-once');
  let prepared: PreparedRelease | undefined;
  let outcome: Outcome;
  try {
    await leased(request.pollLease, async () => {
      prepared = await plan(request, progress, atOnce);
      if (request.rollback) {
        await bringBack(request, request.rollback.made, prepared, progress, begun);
        return;
      }
      const model = await train(request, prepared, progress, begun, atOnce);
      await evaluate(prepared, model, progress);
      const image = await build(request, prepared, model, progress, begun);
      const attested = await attest(request, prepared, progress); // before it is deployed: an admission controller may ask for it
      for (const target of prepared.plan.deploy) {
        const approval = await approve(prepared, target, progress, approvals);
        const change = changeOf(request, prepared, model, image, target, approval);
        try {
          await deploy(request, prepared, model, change, target, progress, begun);
          await verify(request, prepared, target, change, progress);
        } catch (error) {
          await takeBack(prepared, change, target, progress, error);
          throw error;
        }
      }
      if (prepared.plan.deploy.length > 0) await attest(request, prepared, progress, attested);
      await begun.settling;
    });
    outcome = { status: 'SUCCEEDED' };
  } catch (error) {
    // I6: whatever ended the release, what it started ends with it, and what got through is recorded.
    outcome = await CancellationScope.nonCancellable(() => begun.end(progress, outcomeOf(error)));
  }
  const record = progress.ended(outcome);
  if (prepared?.settings.exportTrace) await deliverTraceOf(request.release); // began with 0.1.0
  if (outcome.status === 'FAILED') throw asWorkflowFailure(outcome.problem);
  if (outcome.status === 'CANCELED') throw new CancelledFailure(outcome.reason);
  return record;
}

/** Everything that can be refused is refused here, before anything runs. */
function plan(request: ReleaseRequest, progress: ReleaseProgress, atOnce: boolean): Promise<PreparedRelease> {
  return progress.stage('plan', 'plan', async () => {
    const prepared = await activities('prepare', `load ${request.planPath} at ${request.ref}`).prepareRelease(
      request,
    );
    const { name } = prepared.plan.metadata;
    const environments = prepared.plan.deploy.map(({ environment }) => environment);
    progress.planned(name, prepared.commit, prepared.plan.train.dataset, environments);
    const targets = environments.join(', ');
    if (targets && !atOnce) {
      await activities('prepare', `check ${targets}`, prepared.settings).checkDeployments(prepared.plan);
    }
    return prepared;
  });
}

/**
 * What an earlier release has made is deployed again. Nothing is trained or built; approved and checked it was when it was
 * deployed first; but what is attested of it has to hold.
 */
async function bringBack(
  request: ReleaseRequest,
  { training, image }: Made,
  prepared: PreparedRelease,
  progress: ReleaseProgress,
  begun: Begun,
): Promise<void> {
  const { settings } = prepared;
  progress.trained(training);
  progress.built(image);
  if (settings.attests)
    await progress.stage('verify', 'check evidence', () =>
      activities('attest', `attestations of ${image.reference}`, settings).checkEvidence(
        image.name,
        image.digest,
      ),
    );
  for (const target of prepared.plan.deploy) {
    const change = changeOf(request, prepared, training, image, target);
    await deploy(request, prepared, training, change, target, progress, begun);
  }
  await attest(request, prepared, progress);
}

async function train(
  request: ReleaseRequest,
  prepared: PreparedRelease,
  progress: ReleaseProgress,
  begun: Begun,
  atOnce: boolean,
): Promise<TrainedModel> {
  const { plan, commit, job, jobPath, jobNamespace, trainingContext, parameters, settings } = prepared;
  let letGo: (() => Promise<void>) | undefined;
  const trained = await progress.stage('train', 'train', async (trace) => {
    const { name: model } = plan.metadata;
    const { dataset, timeout } = plan.train;
    const image = jobNamespace && (await trainerImage(request, prepared, trace, begun));
    const derived = jobNameOf(request.release, model, JSON.stringify([commit, dataset, parameters]));
    const name = jobNamespace ? `${jobNamespace}/${derived}` : derived;
    begun.job = name;
    // The Job ends at its own deadline; the rest is for waiting in a queue, and for a worker to come back.
    const waiting = jobNamespace ? QUEUE_SECONDS : 0;
    const limits = {
      startToCloseTimeout: (timeout + waiting + 600) * 1000,
      scheduleToCloseTimeout: (timeout + waiting + 3600) * 1000,
    };
    const trained = await activities(
      'train',
      `${model} on ${dataset.name}@${dataset.version}`,
      settings,
      limits,
    ).train({
      name,
      release: request.release,
      model,
      repository: request.repository,
      commit,
      manifest: job,
      manifestPath: jobPath,
      image,
      modelRepository: jobNamespace && `${plan.build.image}-model`,
      context: trainingContext,
      dataset,
      parameters,
      timeout,
      trace,
    });
    begun.job = undefined;
    progress.trained(trained);
    // The result is in history now: from here on whoever wants to may remove the Job.
    letGo = jobNamespace
      ? () => activities('cleanUp', `let go of ${name}`, settings).settleTraining(name)
      : undefined;
    if (letGo && !atOnce) await letGo();
    return trained;
  });
  // Beside what follows, and so not the stage's: it may take longer.
  if (letGo && atOnce) begun.settle(letGo);
  return trained;
}

/** The image that trains, by digest: built at the commit, or as the manifest's tag stands now (DESIGN §4). */
async function trainerImage(
  request: ReleaseRequest,
  { plan, commit, trainingContext, trainerImage: named, pinnedTrainer, settings }: PreparedRelease,
  trace: TraceCarrier,
  begun: Begun,
): Promise<string | undefined> {
  const { build: trainer } = plan.train;
  if (!trainer) {
    return pinnedTrainer ?? (named && activities('resolve', named, settings).pinImage(named));
  }
  begun.build = true;
  const created = new Date();
  const built = await activities('build', `${trainer.image}, the trainer`, settings).buildImage({
    release: request.release,
    repository: request.repository,
    commit,
    context: trainingContext,
    dockerfile: trainer.dockerfile,
    image: trainer.image,
    tag: request.release,
    arguments: {},
    annotations: trainerAnnotations(request, plan, commit, created),
    createdAt: Math.floor(created.getTime() / 1000),
    trace,
  });
  begun.build = false;
  return built.reference;
}

function evaluate({ plan }: PreparedRelease, model: TrainedModel, progress: ReleaseProgress): Promise<void> {
  return progress.stage('evaluate', 'evaluate', async () => {
    const problem = judge(model.metrics, plan.evaluate.accept);
    if (problem) throw new StageEnded({ status: 'REJECTED', problem });
  });
}

function build(
  request: ReleaseRequest,
  { plan, commit, buildContext, settings }: PreparedRelease,
  model: TrainedModel,
  progress: ReleaseProgress,
  begun: Begun,
): Promise<BuiltImage> {
  return progress.stage('build', 'build', async (trace) => {
    begun.build = true;
    const created = new Date();
    const image = await activities('build', `${plan.build.image} with ${model.id}`, settings).buildImage({
      release: request.release,
      repository: request.repository,
      commit,
      context: buildContext,
      dockerfile: plan.build.dockerfile,
      image: plan.build.image,
      tag: request.release,
      arguments: { MODEL_ID: model.id },
      annotations: imageAnnotations(request, plan, commit, model, created),
      model: { uri: model.uri, digest: model.digest },
      createdAt: Math.floor(created.getTime() / 1000),
      trace,
    });
    begun.build = false;
    progress.built(image);
    return image;
  });
}

/** Signs what has been made so far; of what is attested already nothing is made again. Gives which statements it signed. */
async function attest(
  request: ReleaseRequest,
  { parameters, settings }: PreparedRelease,
  progress: ReleaseProgress,
  known: readonly string[] = [],
): Promise<string[]> {
  if (!settings.attests) return [];
  const record = progress.record();
  const summary = record.deployments.length > 0 ? 'attest the deployments' : 'attest model and image';
  const made = attestedOf(record, request, parameters);
  const signed = await activities('attest', summary, settings).attestRelease(made, known);
  return signed.map(({ statement }) => statement);
}

/** Where the plan asks for it, somebody lets the release into the environment, or does not. */
async function approve(
  { settings }: PreparedRelease,
  target: Deployment,
  progress: ReleaseProgress,
  approvals: Approvals,
): Promise<ApprovalRecord | undefined> {
  if (target.approval !== 'required') return undefined;
  return progress.stage('approve', `approve ${target.environment}`, () =>
    approvals.of(target, settings.separateApproval ?? false),
  );
}

/** What a deployment makes of its target. */
function changeOf(
  request: ReleaseRequest,
  { plan, commit }: PreparedRelease,
  model: TrainedModel,
  image: BuiltImage,
  { environment, repository, branch, manifest, container, kustomize, helm }: Deployment,
  approval?: ApprovalRecord,
): DeploymentChange {
  return {
    release: request.release,
    model: plan.metadata.name,
    environment,
    repository,
    branch,
    manifest,
    container,
    kustomize,
    helm,
    image: image.reference,
    imageDigest: image.digest,
    modelId: model.id,
    sourceCommit: commit,
    dataset: plan.train.dataset,
    ...request.trace,
    ...(request.rollback ? { rollsBack: rollbackOf(request.rollback) } : {}),
    approval,
    requestedAt: request.requestedAt,
    committedAt: new Date().toISOString(),
  };
}

function rollbackOf({ from, to, reason }: Rollback): DeploymentChange['rollsBack'] {
  return { from, to, ...(reason ? { reason } : {}) };
}

function deploy(
  request: ReleaseRequest,
  { plan, settings }: PreparedRelease,
  model: TrainedModel,
  change: DeploymentChange,
  { environment, manifest, argocd, pullRequest }: Deployment,
  progress: ReleaseProgress,
  begun: Begun,
): Promise<void> {
  return progress.stage('deploy', `deploy ${environment}`, async () => {
    const proposal = pullRequest && proposalOf(change, pullRequest, plan, model, request);
    begun.proposal = proposal;
    begun.deployment = proposal ? undefined : change;
    const committed = proposal
      ? await viaPullRequest(proposal, settings, progress)
      : await activities('commit', `${manifest} of ${environment}`, settings).commitDeployment(change);
    begun.proposal = undefined;
    begun.deployment = undefined;
    progress.deployed(committed);
    if (argocd && settings.runtime === 'kubernetes') {
      progress.synced(environment, await synced(change, committed.commit, argocd, settings));
    }
  });
}

function outcomeOf(error: unknown): Outcome {
  if (error instanceof StageEnded) return error.outcome;
  if (error instanceof LeaseExpired) return { status: 'CANCELED', reason: error.message };
  if (isCancellation(error)) return { status: 'CANCELED', reason: 'canceled on request' };
  const problem = problemOf(error);
  // People come first, whether they have changed the target by hand, or keep releases away from it.
  if (problem.code === 'TL_RELEASE_SUPERSEDED' || problem.code === 'TL_CHANGED_BY_HAND')
    return { status: 'SUPERSEDED', problem };
  if (problem.code === 'TL_TARGET_HELD') return { status: 'REJECTED', problem };
  return { status: 'FAILED', problem };
}

/** 0.1.0 started a delivery for each release; now there is one for all, which reads their histories (DESIGN §5.2). */
function deliverTraceOf(release: ReleaseId): Promise<unknown> {
  return CancellationScope.nonCancellable(() =>
    startChild<typeof deliverTrace>('deliverTrace', {
      workflowId: `${release}-trace`,
      args: [release],
      parentClosePolicy: ParentClosePolicy.ABANDON,
      staticSummary: `trace of ${release}`,
    }),
  );
}
