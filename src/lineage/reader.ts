// Who answers questions about lineage: the store, for whoever reaches it, or a gateway that does.
import { ThroughlineError } from '../domain/errors.js';
import type { LinkedTraces } from '../telemetry/backends.js';
import type {
  AttestationsAnswer,
  DriftAnswer,
  ImpactAnswer,
  LineageAnswer,
  ReleaseAnswer,
  ServedAnswer,
} from './answer.js';
import { driftOf } from './drift.js';
import { attestationsOf, environments, find, impact, servedAt } from './find.js';
import { candidatesOf, normalizeQuery } from './identify.js';
import type { StoreHandle } from './store.js';

export interface LineageReader {
  /** At most so many releases, the newest. Throws TL_LINEAGE_UNKNOWN. */
  find(id: string, limit?: number): Promise<LineageAnswer>;
  /** Throws TL_LINEAGE_UNKNOWN. */
  impact(id: string): Promise<ImpactAnswer>;
  /** Throws TL_LINEAGE_UNKNOWN where there is no such environment. */
  servedAt(environment: string, at: Date): Promise<ServedAnswer>;
  /** Throws TL_LINEAGE_UNKNOWN. */
  attestations(id: string): Promise<AttestationsAnswer>;
  /** What of what runs is not what was released, as of the last look. */
  drift(environment?: string): Promise<DriftAnswer>;
  close(): Promise<void>;
}

export class StoreReader implements LineageReader {
  constructor(
    private readonly store: StoreHandle,
    /** Where the traces of predictions are asked for: they lead to a release by their links. */
    private readonly traces: LinkedTraces | undefined,
  ) {}

  async find(id: string, limit?: number): Promise<LineageAnswer> {
    const { database } = await this.store.open();
    const answer = await find(database, id, limit);
    if (answer.matches.length > 0) return answer;
    return (await this.prediction(id)) ?? unknownId(id);
  }

  async impact(id: string): Promise<ImpactAnswer> {
    const { database } = await this.store.open();
    const answer = await impact(database, id);
    return answer.matches.length > 0 ? answer : unknownId(id);
  }

  async attestations(id: string): Promise<AttestationsAnswer> {
    const { database } = await this.store.open();
    const answer = await attestationsOf(database, id);
    if (answer.attestations.length === 0) await this.find(id); // says where there is no such id
    return answer;
  }

  async servedAt(environment: string, at: Date): Promise<ServedAnswer> {
    const { database } = await this.store.open();
    const releases = await servedAt(database, environment, at);
    if (releases.length === 0) {
      const known = await environments(database);
      if (!known.includes(environment)) {
        throw new ThroughlineError('TL_LINEAGE_UNKNOWN', `No release was deployed to ${environment}`, {
          expected:
            known.length > 0 ? `one of: ${known.slice(0, 20).join(', ')}` : 'an environment of a plan',
          found: environment.slice(0, 100),
        });
      }
    }
    return { environment, at: at.toISOString(), releases };
  }

  async drift(environment?: string): Promise<DriftAnswer> {
    return driftOf((await this.store.open()).database, environment);
  }

  /** A trace that is no release's own: what it links to may be one. */
  private async prediction(id: string): Promise<LineageAnswer | undefined> {
    const query = normalizeQuery(id);
    const traceId = candidatesOf(query).find(({ kind }) => kind === 'trace');
    if (!this.traces || !traceId || !('value' in traceId)) return undefined;
    const { database } = await this.store.open();
    const chains = new Map<string, ReleaseAnswer>();
    for (const linked of await this.traces.linkedFrom(traceId.value)) {
      const { releases } = await find(database, `trace:${linked}`);
      for (const release of releases) chains.set(release.release, release);
    }
    if (chains.size === 0) return undefined;
    return {
      query,
      matches: [{ kind: 'prediction', id: traceId.value }],
      releases: [...chains.values()],
      more: false,
    };
  }

  close(): Promise<void> {
    return this.store.close();
  }
}

/** What each form of an id is, in a person's words. */
const NAMES: Readonly<Record<string, string>> = {
  trace: 'a trace',
  span: 'a span',
  run: 'a workflow run',
  execution: 'an execution of Spinnaker',
  commit: 'a source commit',
  'gitops-commit': 'a GitOps commit',
  dataset: 'a dataset',
  model: 'a model',
  image: 'an image',
  'trainer-image': 'a trainer’s image',
  'base-image': 'a base image',
  job: 'a training Job',
  pod: 'a pod',
  release: 'a release',
};

/** Throws TL_LINEAGE_UNKNOWN, with the kinds of id that it could have been. */
export function unknownId(id: string): never {
  const query = normalizeQuery(id);
  const kinds = [...new Set(candidatesOf(query).map(({ kind }) => NAMES[kind] ?? kind))];
  throw new ThroughlineError(
    'TL_LINEAGE_UNKNOWN',
    `No release has to do with ${JSON.stringify(query.slice(0, 200))}`,
    {
      expected: `the id of ${kinds.join(', ')}, whole; or commit:ID, dataset:NAME@VERSION, model:ID and the like, where it could be several`,
    },
  );
}
