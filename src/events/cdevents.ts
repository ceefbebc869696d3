// What happens to a release, in the vocabulary of CDEvents 0.5.1 (https://cdevents.dev), for chat and for whoever waits. Pure:
// the same happening is the same event, with the same id, however often it is sent.
import type { ReleaseRecord } from '../domain/release.js';
import type { ReleaseEvent } from '../releases/events.js';

/** CDEvents 0.5.1, `context.specversion`. */
const SPEC_VERSION = '0.5.1';

/** A CDEvent: what a CloudEvent carries as its data. */
export interface CdEvent {
  readonly context: {
    readonly specversion: string;
    readonly id: string;
    readonly source: string;
    readonly type: string;
    readonly timestamp: string;
  };
  readonly subject: { readonly id: string; readonly source: string; readonly content: object };
  readonly customData: object;
}

export interface EventSource {
  /** A URI of this installation. */
  readonly source: string;
  /** Where a release can be looked at. */
  readonly urlOf: (release: string) => string;
}

/** CDEvents, "Pipeline Run Finished", `outcome`. */
const OUTCOMES: Readonly<Record<ReleaseRecord['status'], string | undefined>> = {
  RUNNING: undefined,
  SUCCEEDED: 'success',
  REJECTED: 'failure',
  FAILED: 'error',
  CANCELED: 'cancel',
  SUPERSEDED: 'cancel',
};

/** The events of one happening: a stage's end can be several. */
export function cdEventsOf(
  record: ReleaseRecord,
  event: ReleaseEvent,
  { source, urlOf }: EventSource,
): CdEvent[] {
  const { release } = record;
  const uri = urlOf(release);
  const make = (type: string, subject: string, content: object, about: object = {}): CdEvent => ({
    context: {
      specversion: SPEC_VERSION,
      id: `${release}/${event.id}/${type.split('.').slice(2, 4).join('.')}`,
      source,
      type,
      timestamp: event.at,
    },
    subject: { id: subject, source, content },
    customData: { ...customDataOf(record), ...about },
  });
  const task = (stage: string) => ({ taskName: stage, uri, pipelineRun: { id: release, source } });
  const approval = (predicate: string, environment: string, content: object) =>
    make(`dev.cdeventsx.throughline-approval.${predicate}.0.1.0`, `${release}/approve ${environment}`, {
      environment: { id: environment },
      pipelineRun: { id: release, source },
      uri,
      ...content,
    });

  switch (event.type) {
    case 'release.started':
      return [make('dev.cdevents.pipelinerun.queued.0.3.0', release, { ...pipelineOf(record), uri })];
    case 'stage.started':
      return [make('dev.cdevents.taskrun.started.0.3.0', `${release}/${event.stage}`, task(event.stage))];
    case 'stage.ended': {
      const { stage, stageType, status, problem } = event;
      const outcome = OUTCOMES[status];
      const ended = make(
        'dev.cdevents.taskrun.finished.0.3.0',
        `${release}/${stage}`,
        {
          ...task(stage),
          ...(outcome ? { outcome } : {}),
          ...(problem ? { errors: `${problem.code}: ${problem.message}` } : {}),
        },
        { status },
      );
      if (status !== 'SUCCEEDED') return [ended];
      // By then it is known which model it is.
      if (stageType === 'plan')
        return [
          ended,
          make('dev.cdevents.pipelinerun.started.0.3.0', release, { ...pipelineOf(record), uri }),
        ];
      const artifact = purlOf(record);
      if (stageType === 'build' && artifact && record.commit) {
        const change = { change: { id: record.commit, source: record.request.repository || source } };
        return [ended, make('dev.cdevents.artifact.packaged.0.3.0', artifact, change)];
      }
      if (stageType === 'deploy' && artifact) {
        const environment = stage.replace(/^deploy /, '');
        return [
          ended,
          make('dev.cdevents.service.deployed.0.3.0', `${environment}/${record.model}`, {
            environment: { id: environment },
            artifactId: artifact,
          }),
        ];
      }
      return [ended];
    }
    case 'approval.awaited':
      return [approval('requested', event.environment, { until: event.until })];
    case 'approval.escalated':
      return [approval('escalated', event.environment, { note: event.note })];
    case 'approval.decided': {
      const { environment, decision, by, comment } = event;
      return [approval('decided', environment, { decision, by, ...(comment ? { comment } : {}) })];
    }
    case 'release.ended': {
      const { status, problem, reason } = event;
      const outcome = OUTCOMES[status];
      const errors = problem ? `${problem.code}: ${problem.message}` : reason;
      return [
        make(
          'dev.cdevents.pipelinerun.finished.0.3.0',
          release,
          { ...pipelineOf(record), uri, ...(outcome ? { outcome } : {}), ...(errors ? { errors } : {}) },
          { status },
        ),
      ];
    }
  }
}

/** The model is the pipeline; until the plan is read, its repository is all that is known. */
function pipelineOf({ model, request }: ReleaseRecord): { pipelineName: string } {
  const repository = request.repository.replace(/\/+$/, '').split(/[/:]/).at(-1);
  return { pipelineName: model ?? (repository?.replace(/\.git$/, '') || 'release') };
}

function customDataOf(record: ReleaseRecord): object {
  const { release, model, commit, traceId, traceparent, request, training, image } = record;
  return {
    release,
    traceId,
    traceparent,
    ...(model ? { model } : {}),
    ...(commit ? { commit } : {}),
    ...(training ? { modelDigest: training.digest } : {}),
    ...(image ? { image: image.reference } : {}),
    ...(request.requestedBy ? { requestedBy: request.requestedBy } : {}),
  };
}

/** Package URL of an OCI image (purl-spec, PURL-TYPES "oci"). */
function purlOf({ image }: ReleaseRecord): string | undefined {
  if (!image) return undefined;
  const repository = image.name.replace(/:[^:/]*$/, '');
  const name = repository.split('/').at(-1)?.toLowerCase();
  return `pkg:oci/${name}@${encodeURIComponent(image.digest)}?repository_url=${encodeURIComponent(repository)}`;
}
