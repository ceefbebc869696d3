// Releases as events of OpenLineage 2-0-2 (https://openlineage.io/spec/2-0-2/OpenLineage.json): training, build and each
// deployment is a job's run below the release's own. Pure, and the same each time: an event that is sent twice says the same.
import { createHash } from 'node:crypto';
import { splitImage } from '../domain/ids.js';
import { VERSION } from '../version.js';
import type { Dataset, EventType, Facet, RunEvent } from './openlineage-event.js';
import type { LineageRecord } from './record.js';
import type { DeploymentRow, StageTimes } from './schema.js';

/** An event, with what it is known by where it may be computed again. */
export interface Outgoing {
  readonly id: string;
  readonly at: Date;
  /** Its place among those of its release. */
  readonly n: number;
  readonly event: RunEvent;
}

const HOME = 'https://throughline.dev';
const PRODUCER = `${HOME}/${VERSION}`;
const SPEC = 'https://openlineage.io/spec';
const RUN_EVENT = `${SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent`;
const FACETS = {
  parent: '1-2-0/ParentRunFacet',
  errorMessage: '1-0-1/ErrorMessageRunFacet',
  processing_engine: '1-1-1/ProcessingEngineRunFacet',
  jobType: '2-0-4/JobTypeJobFacet',
  sourceCodeLocation: '1-1-0/SourceCodeLocationJobFacet',
  version: '1-0-1/DatasetVersionDatasetFacet',
  datasetType: '1-0-1/DatasetTypeDatasetFacet',
} as const;
/** Ours: the ids that lead back to the release. */
const RELEASE_FACET = `${HOME}/schemas/openlineage/1-0-0/ReleaseRunFacet.json`;

type Unplaced = Omit<Outgoing, 'n'>;

/** The events of a release, as far as it has come, oldest first. `namespace` is that of its jobs. */
export function openLineageOf(record: LineageRecord, namespace: string): Outgoing[] {
  const { release } = record;
  if (!release.model) return []; // it has not come to a plan: there is no job to name
  const of = new Release(record, namespace, release.model);
  const [start, ...end] = of.run(
    '',
    'RELEASE',
    { startedAt: release.startedAt, ...endOf(release.status, release.endedAt) },
    {},
  );
  const events = [...(start ? [start] : []), ...release.stages.flatMap((stage) => of.stage(stage)), ...end];
  return events
    .sort((one, other) => one.at.getTime() - other.at.getTime()) // stages in their order where one begins as another ends
    .map((event, n) => ({ ...event, n }));
}

interface Course {
  readonly startedAt: Date;
  readonly endedAt?: Date;
  readonly how?: EventType;
}

interface Flow {
  readonly inputs?: readonly (Dataset | undefined)[];
  readonly outputs?: readonly (Dataset | undefined)[];
}

const ENDS: Readonly<Record<string, EventType>> = {
  SUCCEEDED: 'COMPLETE',
  REJECTED: 'FAIL',
  FAILED: 'FAIL',
  CANCELED: 'ABORT',
  SUPERSEDED: 'ABORT',
};

const endOf = (status: string, endedAt: Date | null | undefined): Pick<Course, 'endedAt' | 'how'> =>
  endedAt ? { endedAt, how: ENDS[status] ?? 'ABORT' } : {};

class Release {
  constructor(
    private readonly record: LineageRecord,
    private readonly namespace: string,
    private readonly model: string,
  ) {}

  stage(stage: StageTimes): Unplaced[] {
    const { release, deployments } = this.record;
    const startedAt = new Date(stage.startedAt);
    // A release that was ended from outside has ended what it was at.
    const course = stage.endedAt
      ? { startedAt, ...endOf(stage.status, new Date(stage.endedAt)) }
      : { startedAt, ...(release.endedAt ? { endedAt: release.endedAt, how: 'ABORT' as const } : {}) };
    if (stage.name === 'train')
      return this.run('train', 'TRAINING', course, { inputs: [this.dataset()], outputs: [this.trained()] });
    if (stage.name === 'build') {
      const inputs = [
        this.trained(),
        ...(release.baseImages ?? []).map(({ name, digest }) => image(name, digest)),
      ];
      return this.run('build', 'BUILD', course, { inputs, outputs: [this.built()] });
    }
    const [, environment] = /^deploy (.+)$/.exec(stage.name) ?? [];
    if (!environment) return [];
    const made = deployments.find((one) => one.environment === environment && one.cause === 'release');
    const outputs = made ? [manifest(made)] : [];
    return this.run(`deploy.${environment}`, 'DEPLOYMENT', course, { inputs: [this.built()], outputs });
  }

  run(stage: string, jobType: string, { startedAt, endedAt, how }: Course, flow: Flow): Unplaced[] {
    const event = (eventType: EventType, at: Date): Unplaced => ({
      id: `${this.record.release.id}/${stage}/${eventType === 'START' ? 'start' : 'end'}`,
      at,
      event: {
        eventType,
        eventTime: at.toISOString(),
        producer: PRODUCER,
        schemaURL: RUN_EVENT,
        run: { runId: this.runId(stage), facets: this.runFacets(stage, eventType) },
        job: { namespace: this.namespace, name: this.jobName(stage), facets: this.jobFacets(jobType) },
        inputs: present(flow.inputs),
        outputs: eventType === 'START' ? [] : present(flow.outputs),
      },
    });
    return [event('START', startedAt), ...(endedAt && how ? [event(how, endedAt)] : [])];
  }

  private jobName(stage: string): string {
    return stage ? `${this.model}.${stage}` : this.model;
  }

  private runId(stage: string): string {
    return uuid5(`${HOME}/${this.record.release.id}/${stage}`);
  }

  private runFacets(stage: string, eventType: EventType): Record<string, Facet> {
    const { id, traceId, traceparent, problem } = this.record.release;
    return {
      ...(stage
        ? facet('parent', {
            run: { runId: this.runId('') },
            job: { namespace: this.namespace, name: this.jobName('') },
          })
        : {}),
      ...facet('processing_engine', {
        version: VERSION,
        name: 'Throughline',
        openlineageAdapterVersion: VERSION,
      }),
      throughline_release: {
        _producer: PRODUCER,
        _schemaURL: RELEASE_FACET,
        ...{ release: id, traceId, traceparent },
      },
      ...(eventType === 'FAIL' && problem
        ? facet('errorMessage', {
            message: `${problem.code}: ${problem.message}`,
            programmingLanguage: 'TypeScript',
          })
        : {}),
    };
  }

  private jobFacets(jobType: string): Record<string, Facet> {
    const { repository, ref, commit, planPath } = this.record.release;
    return {
      ...facet('jobType', { processingType: 'BATCH', integration: 'THROUGHLINE', jobType }),
      ...facet('sourceCodeLocation', {
        type: 'git',
        url: repository,
        repoUrl: repository,
        path: planPath,
        branch: ref,
        ...(commit ? { version: commit } : {}),
      }),
    };
  }

  private dataset(): Dataset | undefined {
    const { datasetName, datasetVersion } = this.record.release;
    return datasetName ? of(this.namespace, datasetName, datasetVersion, 'DATASET') : undefined;
  }

  /** Where it is in a registry it is named as the registry has it; else by the model. */
  private trained(): Dataset | undefined {
    const { modelDigest, modelUri } = this.record.release;
    if (!modelDigest) return undefined;
    return modelUri?.startsWith('oci://')
      ? image(modelUri.slice('oci://'.length), modelDigest, 'MODEL')
      : of(this.namespace, `models/${this.model}`, modelDigest, 'MODEL');
  }

  private built(): Dataset | undefined {
    const { image: name, imageDigest } = this.record.release;
    return name && imageDigest ? image(name, imageDigest) : undefined;
  }
}

const present = (datasets: Flow['inputs'] = []) => datasets.filter((one) => one !== undefined);

function facet(name: keyof typeof FACETS, values: Facet): Record<string, Facet> {
  const schema = FACETS[name];
  const definition = schema.slice(schema.indexOf('/') + 1);
  return {
    [name]: {
      _producer: PRODUCER,
      _schemaURL: `${SPEC}/facets/${schema}.json#/$defs/${definition}`,
      ...values,
    },
  };
}

function of(
  namespace: string,
  name: string,
  version: string | null | undefined,
  datasetType: string,
): Dataset {
  return {
    namespace,
    name,
    facets: {
      ...(version ? facet('version', { datasetVersion: version }) : {}),
      ...facet('datasetType', { datasetType }),
    },
  };
}

function image(reference: string, digest: string, type = 'IMAGE'): Dataset {
  const { repository } = splitImage(reference.replace(/@.*$/, ''));
  const [registry = '', ...path] = repository.split('/');
  return of(`oci://${registry}`, path.join('/') || registry, digest, type);
}

const manifest = ({ repository, manifest: path, commit }: DeploymentRow): Dataset =>
  of(repository, path, commit, 'DEPLOYMENT');

/** RFC 9562, §5.5, in the namespace of URLs (§6.6). */
function uuid5(name: string): string {
  const space = Buffer.from('6ba7b8119dad11d180b400c04fd430c8', 'hex');
  const bytes = createHash('sha1').update(space).update(name).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
}
