// What somebody does to a target, which is a model in an environment: roll it back to an earlier release, keep releases away
// from it, or let them in again. Used by the gateway and by the CLI.
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { HoldRequest } from '../activities/index.js';
import { ThroughlineError } from '../domain/errors.js';
import { type ReleaseId, releaseIdOf } from '../domain/ids.js';
import type { GitOpsCommit, Made, ReleaseRecord, ReleaseReference } from '../domain/release.js';
import type { Logger } from '../telemetry/log.js';
import { GitOpsDesk } from './gitops-desk.js';
import { type ParsedTrigger, parseBody, parseTrigger, type TriggerContext } from './request.js';
import type { ReleaseService, ReleaseView } from './service.js';

/** How far back is looked for what a target ran. */
const MAX_RELEASES = 200;
const PAGE = 20;
/** A hold that the writer of the branch does not take within this time has to be asked for again. Milliseconds. */
const HOLD_TIMEOUT_MS = 20_000;

const name = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/, 'expected lower-case letters, digits and dashes');
const reason = z
  .string()
  .min(1)
  .max(500)
  .regex(/^[^\0-\x1f\x7f]*$/, 'expected one line of text without control characters');

/** Body of `POST /v1/rollbacks`. */
export const rollbackSchema = z.strictObject({
  model: name,
  environment: name,
  to: z
    .string()
    .max(100)
    .optional()
    .describe('Release that is brought back; the one that the environment ran before where it is absent'),
  reason: reason.optional().describe('Why: it stands in the commit, and in the lineage'),
  idempotencyKey: z
    .string()
    .min(1)
    .max(500)
    .optional()
    .describe('Repeating a rollback with the same key returns the same release'),
});

/** Body of `POST /v1/holds`. */
export const holdSchema = z
  .strictObject({
    model: name,
    environment: name,
    held: z.boolean().default(true).describe('Whether releases are to stay away, or may come again'),
    reason: reason
      .optional()
      .describe(
        'Why: it stands in the manifest, in the commit, and in what releases end with; required of a hold',
      ),
  })
  .refine((asked) => !asked.held || asked.reason !== undefined, {
    message: 'expected a reason: whoever wants to release there reads it',
    path: ['reason'],
  })
  .transform((asked) => ({ ...asked, reason: asked.reason ?? 'held no longer' }));

export interface HeldTarget {
  readonly model: string;
  readonly environment: string;
  readonly held: boolean;
  readonly reason: string;
  /** Of the GitOps branch. */
  readonly commit: string;
}

interface Deployed {
  readonly record: ReleaseRecord;
  readonly deployment: GitOpsCommit;
}

export class TargetService {
  private readonly desk: GitOpsDesk;

  constructor(
    private readonly releases: ReleaseService,
    log: Logger,
  ) {
    const { client, taskQueue } = releases.options;
    this.desk = new GitOpsDesk({ client, taskQueue, log });
  }

  /** The trigger of a release that rolls a target back. Throws TL_REQUEST_INVALID, TL_ROLLBACK_IMPOSSIBLE. */
  async rollback(
    body: unknown,
    context: TriggerContext,
    /** Whether whoever asks has to do with such a target. What has none is answered as what is not there. */
    concerns: (target: { readonly model: string; readonly environment: string }) => boolean = () => true,
  ): Promise<ParsedTrigger> {
    const asked = parseBody(rollbackSchema, body);
    const { model, environment, reason } = asked;
    if (!concerns(asked)) throw nothingDeployed(model, environment);
    const key = asked.idempotencyKey ?? context.idempotencyKey;
    // Asked again under the same key it is the same, though by then it is itself what is deployed.
    const fingerprint = JSON.stringify(['rollback', model, environment, asked.to ?? '']);
    const before = key === undefined ? undefined : await this.known(releaseIdOf(key));
    const { from, to } = before?.rollback
      ? { from: before, to: before }
      : await this.fromAndTo(model, environment, asked.to);
    const { repository, planPath } = from.request;
    const trigger = { repository, ref: from.commit, plan: planPath };
    const { request } = parseTrigger(trigger, { ...context, idempotencyKey: key });
    const rollback = {
      environment,
      from: before?.rollback?.from ?? referenceOf(from),
      // What is itself a rollback has brought something back: that is what runs.
      to: to.rollback?.to ?? referenceOf(to),
      ...(reason ? { reason } : {}),
      made: madeBy(to),
    };
    return { request: { ...request, rollback }, fingerprint };
  }

  /** Keeps releases away from a target, or lets them in again. Idempotent. Throws TL_ROLLBACK_IMPOSSIBLE where there is none. */
  async hold(
    body: unknown,
    by: string,
    concerns: (target: { readonly model: string; readonly environment: string }) => boolean = () => true,
  ): Promise<HeldTarget> {
    const asked = parseBody(holdSchema, body);
    const { model, environment, held, reason } = asked;
    if (!concerns(asked)) throw nothingDeployed(model, environment);
    const [current] = await this.deployedTo(model, environment, () => true);
    if (!current) throw nothingDeployed(model, environment);
    const { repository, branch, manifest, container, kustomize, helm } = current.deployment;
    if (container === undefined) {
      throw impossible(
        'The release that is deployed was made by an earlier version, which does not say where',
        {
          hint: 'Write the annotation throughline.dev/hold into the manifest by hand.',
        },
      );
    }
    const request: HoldRequest = {
      release: `hold-${randomUUID()}`,
      ...{ model, environment, repository, branch, manifest, container, kustomize, helm },
      ...{ held, reason, by },
      requestedAt: new Date().toISOString(),
    };
    const signal = AbortSignal.timeout(HOLD_TIMEOUT_MS);
    const written = await this.desk.write(request, { signal, report: () => undefined }).catch((error) => {
      if (!signal.aborted) throw error;
      throw new ThroughlineError('TL_WAITED_TOO_LONG', 'The writer of the branch did not take it in time', {
        hint: 'Look whether workers run and the git server answers, then ask again: the same hold counts once.',
      });
    });
    if ('problem' in written) throw ThroughlineError.from(written.problem);
    if ('withdrawn' in written) throw impossible('It was taken back');
    return { model, environment, held, reason, commit: written.commit };
  }

  close(): void {
    this.desk.close();
  }

  private async fromAndTo(
    model: string,
    environment: string,
    named: string | undefined,
  ): Promise<{ from: ReleaseRecord; to: ReleaseRecord }> {
    const replaced = new Set<string>();
    const deployed = await this.deployedTo(model, environment, ({ record }, before) => {
      if (record.rollback) replaced.add(record.rollback.from.release);
      const [current] = before;
      if (!current) return false;
      if (named !== undefined) return true; // what is deployed is enough
      const good = record.status === 'SUCCEEDED' && !replaced.has(record.release);
      return good && record.image?.digest !== current.record.image?.digest;
    });
    const [from] = deployed;
    if (!from) throw nothingDeployed(model, environment);
    if (named === undefined) {
      const to = deployed.at(-1);
      if (!to || to === from)
        throw impossible(`${environment} has run nothing else of ${model} that succeeded`);
      return { from: from.record, to: to.record };
    }
    const { record } = await this.releases.get(named);
    if (record.model !== model || !record.deployments.some((one) => one.environment === environment)) {
      throw impossible(`${named} has deployed nothing of ${model} to ${environment}`);
    }
    return { from: from.record, to: record };
  }

  private async known(id: ReleaseId): Promise<ReleaseRecord | undefined> {
    return (await this.releases.knows(id)) ? (await this.releases.get(id)).record : undefined;
  }

  /** What a target has run, newest first, up to the first that `enough` says yes to. */
  private async deployedTo(
    model: string,
    environment: string,
    enough: (deployed: Deployed, before: readonly Deployed[]) => boolean,
  ): Promise<Deployed[]> {
    const found: Deployed[] = [];
    let cursor: string | undefined;
    for (let seen = 0; seen < MAX_RELEASES; seen += PAGE) {
      const page = await this.releases.list({ model, environment, limit: PAGE, cursor });
      const views = await Promise.all(page.releases.map(({ release }) => this.releases.get(release)));
      for (const deployed of views.flatMap((view) => deployedBy(view, environment))) {
        const last = enough(deployed, found);
        found.push(deployed);
        if (last) return found;
      }
      cursor = page.cursor;
      if (cursor === undefined) break;
    }
    return found.slice(0, 1); // only what is deployed is certain
  }
}

/** A deployment that still stands: what a release has taken back itself is none. */
function deployedBy({ record }: ReleaseView, environment: string): Deployed[] {
  const deployment = record.deployments.find((one) => one.environment === environment && !one.rolledBack);
  return deployment ? [{ record, deployment }] : [];
}

/** Throws TL_ROLLBACK_IMPOSSIBLE where that is nothing. */
function madeBy({ release, training, image, commit, dataset }: ReleaseRecord): Made {
  if (training && image && commit && dataset) return { commit, dataset, training, image };
  throw impossible(`${release} has made nothing that could be deployed`);
}

function referenceOf({ release, traceparent }: ReleaseRecord): ReleaseReference {
  return { release, traceparent };
}

const impossible = (message: string, more: { readonly hint?: string } = {}) =>
  new ThroughlineError('TL_ROLLBACK_IMPOSSIBLE', message, more);

const nothingDeployed = (model: string, environment: string) =>
  impossible(`Nothing of ${model} is known to be deployed to ${environment}`);
