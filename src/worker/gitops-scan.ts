// Looks at the GitOps repositories of every target for what was changed by hand, and writes it into the lineage store.
import { type ManifestHistory, manifestHistory } from '../activities/gitops/history.js';
import type { DeployedTemplate } from '../activities/gitops/manifest.js';
import { messageOf } from '../domain/errors.js';
import { redact } from '../domain/urls.js';
import { type Deployed, deploymentsByHand } from '../lineage/by-hand.js';
import type { ScannedTarget } from '../lineage/database.js';
import type { LineageStore } from '../lineage/store.js';
import type { Logger } from '../telemetry/log.js';

export class GitOpsScan {
  /** Repositories that could not be read, so that it is said once. */
  private readonly trouble = new Set<string>();

  constructor(
    private readonly cache: string,
    private readonly store: LineageStore,
    private readonly log: Logger,
  ) {}

  /** `anew` looks at whole histories, whatever was seen before. A repository that cannot be read is left for later. */
  async scan(signal: AbortSignal, anew = false): Promise<void> {
    const branches = new Map<string, ScannedTarget[]>();
    for (const target of await this.store.targets()) {
      const key = JSON.stringify([target.repository, target.branch]);
      branches.set(key, [...(branches.get(key) ?? []), target]);
    }
    for (const [key, targets] of branches) {
      const [repository = '', branch = ''] = JSON.parse(key) as string[];
      let history: ManifestHistory;
      try {
        history = await manifestHistory(this.cache, repository, branch, signal);
        this.trouble.delete(key);
      } catch (error) {
        signal.throwIfAborted();
        if (!this.trouble.has(key))
          this.log.warn(
            { repository: redact(repository), error: messageOf(error) },
            'a GitOps repository cannot be read',
          );
        this.trouble.add(key);
        continue;
      }
      for (const target of targets) {
        if (anew || target.scanned !== history.tip) await this.look(history, target, anew);
      }
    }
  }

  private async look(history: ManifestHistory, scanned: ScannedTarget, anew: boolean): Promise<void> {
    const { scanned: last, ...target } = scanned;
    const deployedAt = async (commit: string) =>
      this.deployedOf(target.model, await history.deployed(target.manifest, commit));
    const { since, commits: all } = await history.changes(
      target.manifest,
      anew ? undefined : (last ?? undefined),
    );
    const theirs = all.filter(
      ({ model, environment }) => model === target.model && environment === target.environment,
    );
    const own = await this.store.madeBy(theirs);
    const commits = all.map(({ commit, committedAt }) => ({
      commit,
      committedAt,
      release: own.get(commit)?.release,
      servedFrom: own.get(commit)?.servedFrom,
    }));
    // What was there before Throughline came is nobody's; only what follows a release counts.
    const first = since ? 0 : commits.findIndex(({ release }) => release !== undefined);
    const before = since
      ? {
          ...(await deployedAt(since)),
          servedFrom: await this.store.lastServed(
            target,
            all.map(({ commit }) => commit),
          ),
        }
      : { release: undefined, imageDigest: undefined };
    const rows = await deploymentsByHand(target, first < 0 ? [] : commits.slice(first), before, deployedAt);
    await this.store.putByHand(target, rows, history.tip);
  }

  /** Of everything that a manifest deploys, what is of this model; else whatever has an image. */
  private async deployedOf(model: string, templates: readonly DeployedTemplate[]): Promise<Deployed> {
    const named = templates.flatMap(({ release }) => (release ? [release] : []));
    const known = await this.store.images(named);
    for (const { release, digests } of templates) {
      const of = known.get(release ?? '');
      // The annotation and the image have to agree: one of them alone says nothing of what runs.
      if (release && of?.model === model && of.imageDigest && digests.includes(of.imageDigest))
        return { release, imageDigest: of.imageDigest };
    }
    const own = templates.filter(({ release }) => known.get(release ?? '')?.model === model);
    const [digest] = (own.length > 0 ? own : templates).flatMap(({ digests }) => digests);
    return { release: undefined, imageDigest: digest };
  }
}
