// The activities, put together from the ports. Each is a few lines: what it does is in its folder.

import type { Resource } from '@opentelemetry/resources';
import type { SpanExporter } from '@opentelemetry/sdk-trace-base';
import { CancelledFailure } from '@temporalio/activity';
import { expectedOf } from '../activities/argocd/expected.js';
import type { SyncWatcher } from '../activities/argocd/watcher.js';
import type { ImageBuilder } from '../activities/build/builder.js';
import type { DriftChecker } from '../activities/drift/checker.js';
import type { Forges } from '../activities/forge/index.js';
import type { GitOpsRepository, Written } from '../activities/gitops/change.js';
import { committed, deployChange, gitOpsChange, placeholderEdit } from '../activities/gitops/deployment.js';
import type {
  Activities,
  DeploymentChange,
  PreparedRelease,
  RollbackRequest,
  WorkerSettings,
} from '../activities/index.js';
import type { EvidenceStore } from '../activities/registry/evidence.js';
import { pinned } from '../activities/registry/oci-program.js';
import type { Registry } from '../activities/registry/registry.js';
import type { ReleaseSource } from '../activities/source/prepare.js';
import type { JobRunner } from '../activities/training/runner.js';
import type { Verifier } from '../activities/verify/index.js';
import { ThroughlineError } from '../domain/errors.js';
import type { WrittenDeployment } from '../domain/gitops.js';
import type { CommitSha } from '../domain/ids.js';
import type { Traced } from '../domain/observation.js';
import { eventsIdOf } from '../domain/temporal-names.js';
import { redact } from '../domain/urls.js';
import { type Plan, sealJob } from '../plan/index.js';
import { attestRelease } from '../provenance/attest.js';
import type { StatementSigner } from '../provenance/signing.js';
import type { GitOpsDesk } from '../releases/gitops-desk.js';
import { deliver } from '../telemetry/deliver.js';
import type { Logger } from '../telemetry/log.js';
import { pushObservation } from '../telemetry/observations.js';
import { type ActivityContext, type ActivityPolicy, inActivity } from './activity-context.js';
import type { EventDelivery } from './event-delivery.js';
import { PullRequests } from './pull-requests.js';
import type { TraceDelivery } from './trace-delivery.js';

export interface ActivityDependencies {
  readonly worker: string;
  readonly log: Logger;
  readonly settings: WorkerSettings;
  readonly source: ReleaseSource;
  readonly runner: JobRunner;
  readonly builder: ImageBuilder;
  readonly gitops: GitOpsRepository;
  readonly forges: Forges;
  /** Where the writers of GitOps branches are asked. */
  readonly desk: GitOpsDesk;
  /** Where Jobs run in a cluster: what their images are by digest, and what Argo CD makes of commits. */
  readonly registry?: Registry | undefined;
  readonly sync?: SyncWatcher | undefined;
  /** What signs, and what lies beside images. */
  readonly signer?: StatementSigner | undefined;
  readonly evidence?: EvidenceStore | undefined;
  readonly verifier: Verifier;
  readonly drift: DriftChecker;
  readonly exporter: SpanExporter | undefined;
  readonly resource: Resource;
  readonly traces: TraceDelivery;
  /** Who is told of releases, by their keys. */
  readonly listeners?: ReadonlyMap<string, EventDelivery>;
}

/** After hours of training a server's outage, which may look like a refusal, is waited out. */
const PATIENT: ActivityPolicy = { alsoRetry: ['TL_REPOSITORY_DENIED', 'TL_REPOSITORY_NOT_FOUND'] };

/** As Temporal gets them: with what the trace is made of. */
export type TracedActivities = {
  [Name in keyof Activities]: (
    ...parameters: Parameters<Activities[Name]>
  ) => Promise<Traced<Awaited<ReturnType<Activities[Name]>>>>;
};

export function createActivities(dependencies: ActivityDependencies): TracedActivities {
  const {
    worker,
    log,
    settings,
    source,
    runner,
    builder,
    gitops,
    forges,
    desk,
    registry,
    sync,
    signer,
    evidence,
    verifier,
    drift,
    exporter,
    resource,
    traces,
    listeners = new Map(),
  } = dependencies;
  const pulls = new PullRequests(gitops, forges);
  const run = <T>(body: (context: ActivityContext) => Promise<T>, policy: ActivityPolicy = {}) =>
    inActivity(worker, log, policy, body);

  /** Whether every target would take the change: it is made, and not written. */
  const checkTargets = async (plan: Plan, context: ActivityContext): Promise<void> => {
    for (const target of plan.deploy) {
      const watched = sync && target.argocd && sync.check({ ...target, ...target.argocd }, context);
      watched?.catch(() => undefined); // the manifest is judged first
      await gitops.check(placeholderEdit(target), context);
      if (target.pullRequest) await pulls.check(target, plan.metadata.name, context);
      await watched;
    }
  };

  /** A registry that is away is waited for later, with more patience. */
  const pinAtOnce = async (
    { plan, trainerImage }: PreparedRelease,
    signal: AbortSignal,
  ): Promise<string | undefined> => {
    if (!registry || !trainerImage || plan.train.build) return undefined;
    try {
      return await pinned(registry, trainerImage, signal);
    } catch (error) {
      if (error instanceof ThroughlineError && error.problem.code === 'TL_REGISTRY_UNREACHABLE')
        return undefined;
      throw error;
    }
  };

  /** Has a change written by its branch's writer. A cancellation takes back what is not written yet (I6). */
  const written = async (
    change: DeploymentChange | RollbackRequest,
    context: ActivityContext,
  ): Promise<CommitSha> => {
    const { signal, observe } = context;
    const answer = await desk.write(change, context).catch((error: unknown) => {
      if (!signal.aborted || isShutdown(signal.reason)) throw error; // the next attempt asks again
      return desk.withdraw(change, change, new AbortController().signal);
    });
    if (!answer || 'withdrawn' in answer) throw new CancelledFailure('The change was withdrawn');
    if ('problem' in answer) throw ThroughlineError.from(answer.problem);
    const { commit, pushed } = answer;
    if (pushed) observe(pushObservation({ repository: redact(change.repository), commit, ...pushed }));
    return commit;
  };

  return {
    prepareRelease: (request) =>
      run(async (context): Promise<PreparedRelease> => {
        if (request.rollback) {
          const { verifyJobs: _, ...prepared } = await source.prepare(request, settings, context);
          await checkTargets(prepared.plan, context); // nothing is trained, built or checked
          return { ...prepared, job: sealJob(prepared.job) };
        }
        const built = builder.check(); // meanwhile
        built.catch(() => undefined);
        const prepared = await source.prepare(request, settings, context);
        // All at once; what is wrong with the plan itself is said first.
        const placed = runner.check(prepared.job);
        const verifies = Promise.all(
          (prepared.verifyJobs ?? []).map(async (one) => ({
            ...one,
            job: sealJob(one.job),
            jobNamespace: (await runner.check(one.job)).namespace,
          })),
        );
        const checks = [placed, verifies, checkTargets(prepared.plan, context), built];
        for (const check of checks) check.catch(() => undefined);
        const pinnedTrainer = placed.then(({ namespace }) =>
          namespace ? pinAtOnce(prepared, context.signal) : undefined,
        );
        pinnedTrainer.catch(() => undefined);
        for (const check of checks) await check;
        return {
          ...prepared,
          job: sealJob(prepared.job),
          jobNamespace: (await placed).namespace,
          pinnedTrainer: await pinnedTrainer,
          ...(prepared.verifyJobs ? { verifyJobs: await verifies } : {}),
        };
      }),

    checkDeployments: (plan) => run((context) => checkTargets(plan, context)),

    train: (job) => run((context) => runner.run(job, context)),

    pinImage: (reference) =>
      run(async ({ signal, report }) => {
        report(`resolving ${reference}`);
        return registry ? pinned(registry, reference, signal) : reference;
      }),

    settleTraining: (job) => run((context) => runner.settle(job, context)),

    stopTraining: (job) => run((context) => runner.stop(job, context)),

    buildImage: (build) => run((context) => builder.build(build, context)),

    stopBuild: (release) => run((context) => builder.stop(release, context)),

    commitDeployment: (change) => run(async (context) => committed(change, await written(change, context))),

    rollBackDeployment: (request) =>
      run(async (context) => {
        const commit = await written(request, context);
        return { commit, restored: await gitops.fieldsAt(request, commit, context.signal) };
      }, PATIENT),

    writeDeployments: (branch, changes) =>
      run(async (context) => {
        const written = await gitops.write(branch, changes.map(gitOpsChange), context);
        return written.map(writtenDeployment);
      }, PATIENT),

    awaitDeployment: (wait) =>
      run(async (context) => {
        if (!sync) {
          throw new ThroughlineError('TL_CONFIG_INVALID', 'This worker cannot look at Argo CD', {
            expected: 'THROUGHLINE_RUNTIME=kubernetes, as the worker that began the release has it',
          });
        }
        return sync.wait({ ...expectedOf(wait), deadline: wait.deadline }, context);
      }),

    verifyDeployment: (verification, deployed) =>
      run((context) => {
        const looks = deployed && sync?.looks(expectedOf(deployed), context);
        return verifier.verify(verification, context, looks);
      }),

    proposeDeployment: (proposal) => run((context) => pulls.propose(proposal, context), PATIENT),

    awaitMerge: (wait) => run((context) => pulls.awaitMerge(wait, context), PATIENT),

    withdrawProposal: (proposal, number, reason) =>
      run((context) => pulls.withdraw(proposal, number, reason, context), PATIENT),

    findDeployment: (change) =>
      run(async (context) => {
        await desk.withdraw(change, change, context.signal);
        const commit = await gitops.find(deployChange(change), context);
        return commit && committed(change, commit);
      }, PATIENT),

    checkEvidence: (image, digest) =>
      run(async ({ signal, report }) => {
        report(`checking the attestations of ${image}`);
        const failures = await drift.failedAttestations(image, digest, signal);
        if (failures.length === 0) return;
        throw new ThroughlineError('TL_ATTESTATION_INVALID', `The attestations of ${image} do not hold`, {
          found: failures.map(({ what, detail }) => `${what}: ${detail}`).join('; '),
        });
      }),

    attestRelease: (release, knows) =>
      run(async ({ signal, report }) => {
        if (!signer || !evidence) {
          throw new ThroughlineError('TL_CONFIG_INVALID', 'This worker cannot sign', {
            expected: 'THROUGHLINE_SIGNING_KEY, as the worker that began the release has it',
          });
        }
        report('signing what was made');
        const attested = await attestRelease(release, signer, evidence, signal);
        return attested
          .filter(({ statement }) => !knows.includes(statement))
          .map(({ added: _, ...signed }) => signed);
      }),

    deliverSpans: (spans) =>
      run(async ({ report }) => {
        if (!exporter) return;
        report(`sending ${spans.length} spans to the collector`);
        await deliver(spans, exporter, resource);
      }),

    deliverTraces: (state) => run((context) => traces.deliver(state, context)),

    deliverEvents: (listener, state) =>
      run((context) => {
        const delivery = listeners.get(listener);
        if (!delivery) {
          throw new ThroughlineError('TL_EVENTS_UNREACHABLE', 'This worker does not know that listener', {
            expected: '`events` in the configuration, as another worker of this task queue has it',
            hint: `Where nobody is to be told any more: temporal workflow terminate --workflow-id ${eventsIdOf(listener)}`,
          });
        }
        return delivery.deliver(state, context);
      }),

    checkTargets: (expected) => run((context) => drift.check(expected, context)),

    readTrainingLog: (job, from, bytes) => run(() => runner.log(job, from, bytes)),
  };
}

function writtenDeployment(written: Written): WrittenDeployment {
  if ('refused' in written) return { problem: written.refused.problem };
  return written;
}

/** A worker that stops leaves its attempt to the next one. */
function isShutdown(reason: unknown): boolean {
  return reason instanceof CancelledFailure && reason.message === 'WORKER_SHUTDOWN';
}
