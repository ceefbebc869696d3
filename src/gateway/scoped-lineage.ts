// Lineage for somebody who may see some models, or some environments, and is not told of any other.
import { ThroughlineError } from '../domain/errors.js';
import type { ReleaseScope } from '../domain/release.js';
import { MOST_RELEASES } from '../lineage/find.js';
import type {
  AttestationsAnswer,
  DriftAnswer,
  ImpactAnswer,
  LineageAnswer,
  LineageReader,
  ReleaseAnswer,
  ServedAnswer,
} from '../lineage/index.js';
import { unknownId } from '../lineage/reader.js';
import { covers } from '../policy/index.js';

/** Of what releases share, so many are looked through for those that may be seen. */
const LOOK_THROUGH = 1_000;

export class ScopedReader implements LineageReader {
  constructor(
    private readonly reader: LineageReader,
    private readonly scopes: readonly ReleaseScope[],
  ) {}

  async find(id: string): Promise<LineageAnswer> {
    const answer = await this.reader.find(id, LOOK_THROUGH);
    const seen = answer.releases.filter((one) => this.sees(one));
    if (seen.length === 0) unknownId(id);
    const releases = seen.slice(0, MOST_RELEASES);
    const text = JSON.stringify(releases);
    return {
      query: answer.query,
      matches: answer.matches.filter((match) => match.id === answer.query || text.includes(match.id)),
      releases,
      more: seen.length > releases.length,
    };
  }

  async impact(id: string): Promise<ImpactAnswer> {
    const answer = await this.reader.impact(id);
    const deployments = answer.deployments.filter((one) => this.runs(one));
    const deployed = new Map(deployments.map((one) => [one.release, one]));
    const models = answer.models.filter(
      ({ release, model }) => deployed.has(release) || covers(this.scopes, { model }),
    );
    const seen = new Set([...deployed.keys(), ...models.map(({ release }) => release)]);
    if (seen.size === 0) unknownId(id);
    return {
      query: answer.query,
      matches: answer.matches.filter((match) => match.id === answer.query),
      releases: seen.size,
      models,
      images: answer.images.filter(({ release }) => seen.has(release)),
      deployments,
      serving: answer.serving.filter((one) => this.runs(one)),
    };
  }

  async attestations(id: string): Promise<AttestationsAnswer> {
    const seen = new Set((await this.find(id)).releases.map(({ release }) => release));
    const answer = await this.reader.attestations(id);
    return { ...answer, attestations: answer.attestations.filter(({ release }) => seen.has(release)) };
  }

  async servedAt(environment: string, at: Date): Promise<ServedAnswer> {
    const hidden = () =>
      new ThroughlineError('TL_LINEAGE_UNKNOWN', `No release was deployed to ${environment.slice(0, 100)}`);
    if (!this.scopes.some(({ environments }) => environments?.includes(environment) ?? true)) throw hidden();
    const answer = await this.reader.servedAt(environment, at).catch((error) => {
      throw error instanceof ThroughlineError && error.code === 'TL_LINEAGE_UNKNOWN' ? hidden() : error;
    });
    const releases = answer.releases.filter(({ model }) =>
      covers(this.scopes, { model, environments: [environment] }),
    );
    if (releases.length === 0 && answer.releases.length > 0) throw hidden();
    return { ...answer, releases };
  }

  async drift(environment?: string): Promise<DriftAnswer> {
    const answer = await this.reader.drift(environment);
    return { ...answer, targets: answer.targets.filter((one) => this.runs(one)) };
  }

  close(): Promise<void> {
    return this.reader.close();
  }

  private sees({ model, environments, deployments }: ReleaseAnswer): boolean {
    const known = [...environments, ...deployments.map(({ environment }) => environment)];
    return covers(this.scopes, { model, environments: known });
  }

  private runs({ model, environment }: { readonly model: string; readonly environment: string }): boolean {
    return covers(this.scopes, { model, environments: [environment] });
  }
}
