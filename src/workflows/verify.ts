// Whether a deployment is good: the checks that the plan has for its environment, after it was synced and before the next
// one is begun. A check that does not pass ends the release with a code of its own, so that whoever rolls back can tell.
import { CancellationScope, isCancellation } from '@temporalio/workflow';
import type {
  DeployedCommit,
  DeploymentChange,
  PreparedRelease,
  TrainingJob,
  Verification,
} from '../activities/index.js';
import type { Problem } from '../domain/errors.js';
import { ThroughlineError } from '../domain/errors.js';
import { jobNameOf } from '../domain/ids.js';
import type { ReleaseRequest } from '../domain/release.js';
import type { TraceCarrier } from '../domain/trace.js';
import type { VerifyResult } from '../domain/verification.js';
import type { Deployment } from '../plan/schema.js';
import type { VerifyCheck } from '../plan/verify.js';
import { activities } from './policies.js';
import type { ReleaseProgress } from './progress.js';

/** Nothing where the plan has no checks: releases that began without them go on as they did. */
export async function verify(
  request: ReleaseRequest,
  prepared: PreparedRelease,
  target: Deployment,
  change: DeploymentChange,
  progress: ReleaseProgress,
): Promise<void> {
  const { environment } = target;
  const { settings } = prepared;
  // On a machine without a cluster nothing is synced, and nothing of Argo CD's has a health.
  const checks = (target.verify ?? []).filter(({ health }) => !health || settings.runtime === 'kubernetes');
  if (checks.length === 0) return;
  await progress.stage('verify', `verify ${environment}`, (trace) =>
    allPass(checks, progress, (check) => {
      const verification = verificationOf(check, request, prepared, change, trace);
      const deployed = check.health && deployedBy(change, target, progress);
      return decide(check, verification, prepared, deployed);
    }),
  );
}

/**
 * All at once: what has to hold for a while holds from the deployment on, and the whole takes as long as the longest. The
 * first that does not pass decides; the others are ended, as the sooner somebody goes back the better.
 */
async function allPass(
  checks: readonly VerifyCheck[],
  progress: ReleaseProgress,
  run: (check: VerifyCheck) => Promise<VerifyResult>,
): Promise<void> {
  const scope = new CancellationScope();
  let first: unknown;
  const one = async (check: VerifyCheck) => {
    try {
      const result = await run(check);
      progress.verified(result);
      if (!result.passed) throw ThroughlineError.from(problemOfCheck(result));
    } catch (error) {
      first ??= error;
      scope.cancel();
      throw error;
    }
  };
  const ends = await scope.run(() => Promise.allSettled(checks.map(one)));
  // What stopped them all, if that is not the end that it brought about in the others; or what a Job could not be stopped by.
  const errors = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
  if (errors.length > 0) throw errors.find((error) => !isCancellation(error)) ?? first;
}

function problemOfCheck({ environment, name, expected, found }: VerifyResult): Problem {
  return {
    code: 'TL_VERIFICATION_FAILED',
    message: `The check ${name} of ${environment} did not pass: ${found.split('\n', 1)[0]}`,
    expected,
    found,
  };
}

async function decide(
  check: VerifyCheck,
  verification: Verification,
  { settings }: PreparedRelease,
  deployed: DeployedCommit | undefined,
): Promise<VerifyResult> {
  const { job } = verification;
  const seconds = timeoutOf(check);
  // The activity ends by itself at the deadline, with what it has found; the rest is for a worker to come back.
  const limits = {
    startToCloseTimeout: (seconds + 600) * 1000,
    scheduleToCloseTimeout: (seconds + 3600) * 1000,
  };
  const summary = `${check.name} of ${verification.environment}`;
  const asked = activities('verify', summary, settings, limits);
  if (deployed) return asked.verifyDeployment(verification, deployed);
  if (!job) return asked.verifyDeployment(verification);
  try {
    return await asked.verifyDeployment(verification);
  } finally {
    // I6: whatever it came to. One that has ended is let go of, as its result is in history.
    await CancellationScope.nonCancellable(() =>
      activities('cleanUp', `stop ${job.name}`, settings).stopTraining(job.name),
    );
  }
}

const timeoutOf = ({ health, http, job, prometheus }: VerifyCheck): number =>
  (health ?? http ?? job ?? prometheus)?.timeout ?? 0;

/** What there is to look at, for as long as the check wants. */
function deployedBy(
  change: DeploymentChange,
  { argocd }: Deployment,
  progress: ReleaseProgress,
): DeployedCommit {
  const { commit } =
    progress.record().deployments.find(({ environment }) => environment === change.environment) ?? {};
  if (!argocd || !commit) throw new ThroughlineError('TL_INTERNAL', `${change.environment} was not synced`);
  const { application, namespace } = argocd;
  return { change, commit, application, namespace };
}

function verificationOf(
  check: VerifyCheck,
  request: ReleaseRequest,
  prepared: PreparedRelease,
  change: DeploymentChange,
  trace: TraceCarrier,
): Verification {
  const { environment, model, modelId, imageDigest } = change;
  return {
    environment,
    check,
    values: {
      'release.id': request.release,
      'model.name': model,
      'model.id': modelId,
      'image.digest': imageDigest,
      commit: prepared.commit,
      environment,
    },
    deadline: new Date(Date.now() + timeoutOf(check) * 1000).toISOString(),
    trace,
    ...(check.job ? { job: jobOf(check.name, check.job, request, prepared, change, trace) } : {}),
  };
}

/** I2: one Job per release, environment and check. */
function jobOf(
  name: string,
  { manifest, timeout }: NonNullable<VerifyCheck['job']>,
  request: ReleaseRequest,
  { plan, commit, verifyJobs = [] }: PreparedRelease,
  { environment, model, modelId, image, imageDigest }: DeploymentChange,
  trace: TraceCarrier,
): TrainingJob {
  const prepared = verifyJobs.find((one) => one.manifest === manifest);
  if (!prepared) throw new ThroughlineError('TL_INTERNAL', `The Job ${manifest} was not prepared`);
  const { release } = request;
  const derived = jobNameOf(release, model, JSON.stringify([commit, 'verify', environment, name]));
  return {
    name: prepared.jobNamespace ? `${prepared.jobNamespace}/${derived}` : derived,
    release,
    model,
    repository: request.repository,
    commit,
    manifest: prepared.job,
    manifestPath: prepared.path,
    context: prepared.path.replace(/\/?[^/]*$/, '') || '.',
    dataset: plan.train.dataset,
    parameters: {
      ENVIRONMENT: environment,
      MODEL_ID: modelId,
      IMAGE: image,
      IMAGE_DIGEST: imageDigest,
      SOURCE_COMMIT: commit,
    },
    verifies: environment,
    timeout,
    trace,
  };
}
