// The message of a GitOps commit, written and read: its trailers are how a later attempt finds what an earlier one did
// (I3), and how a release sees that a newer one was there before it (I4).
import type { ApprovalRecord } from '../../domain/approval.js';
import type { Rollback } from '../../domain/release.js';

/** Of a commit by which somebody keeps releases away from a target, with the reason; and of one that lifts that. */
export const HOLD_TRAILER = 'Throughline-Hold';
export const UNHOLD_TRAILER = 'Throughline-Unhold';

/** A model in an environment. */
export interface TargetName {
  readonly model: string;
  readonly environment: string;
}

/** Of a commit that takes back what a release has deployed: which one. */
export const ROLLBACK_TRAILER = 'Rollback-Of';

/** What takes back a release's deployment. */
export interface RollbackMessage extends TargetName {
  /** Whose. */
  readonly release: string;
  readonly traceparent: string;
  /** When that was asked for. ISO 8601, UTC. */
  readonly requestedAt: string;
  readonly reason: string;
}

/** What holds a target, or lifts that. */
export interface HoldMessage extends TargetName {
  readonly kind: 'hold' | 'unhold';
  readonly reason: string;
  readonly by: string;
}

export interface DeployMessage extends TargetName {
  readonly release: string;
  readonly traceparent: string;
  /** As the caller sent them, where it did. */
  readonly tracestate?: string | undefined;
  readonly baggage?: string | undefined;
  readonly modelId: string;
  readonly imageDigest: string;
  readonly sourceCommit: string;
  readonly datasetVersion: string;
  /** When the release was asked for. ISO 8601, UTC: the order between releases of one model. */
  readonly requestedAt: string;
  /** Who let it go there, where somebody had to. */
  readonly approval?: Pick<ApprovalRecord, 'by' | 'at' | 'comment'> | undefined;
  /** Which release it brings back, instead of which. */
  readonly rollsBack?: Omit<Rollback, 'environment'> | undefined;
}

export function formatMessage(message: DeployMessage): string {
  const { approval, rollsBack } = message;
  const trailers = {
    'Release-Id': message.release,
    Traceparent: message.traceparent,
    ...(message.tracestate ? { Tracestate: message.tracestate } : {}),
    ...(message.baggage ? { Baggage: message.baggage } : {}),
    Model: message.model,
    'Model-Id': message.modelId,
    'Image-Digest': message.imageDigest,
    'Source-Commit': message.sourceCommit,
    'Dataset-Version': message.datasetVersion,
    Environment: message.environment,
    'Requested-At': message.requestedAt,
    ...(rollsBack
      ? { 'Rolls-Back-To': rollsBack.to.release, 'Rolls-Back-From': rollsBack.from.release }
      : {}),
    ...(rollsBack?.reason ? { Reason: rollsBack.reason } : {}),
    ...(approval ? { 'Approved-By': approval.by, 'Approved-At': approval.at } : {}),
    ...(approval?.comment ? { 'Approval-Comment': approval.comment } : {}),
  };
  const lines = Object.entries(trailers).map(([name, value]) => `${name}: ${oneLine(value)}`);
  return `Deploy model ${oneLine(message.modelId)} with trace ${message.traceparent}\n\n${lines.join('\n')}\n`;
}

export function formatHold({ kind, model, environment, reason, by }: HoldMessage): string {
  const trailer = kind === 'hold' ? HOLD_TRAILER : UNHOLD_TRAILER;
  const subject = `${kind === 'hold' ? 'Hold' : 'Let releases into'} ${oneLine(model)} in ${oneLine(environment)}`;
  const trailers = { [trailer]: reason, Model: model, Environment: environment, 'Requested-By': by };
  const lines = Object.entries(trailers).map(([name, value]) => `${name}: ${oneLine(value)}`);
  return `${subject}\n\n${lines.join('\n')}\n`;
}

export function formatRollback({
  release,
  model,
  environment,
  traceparent,
  requestedAt,
  reason,
}: RollbackMessage): string {
  const trailers = {
    [ROLLBACK_TRAILER]: release,
    Traceparent: traceparent,
    Model: model,
    Environment: environment,
    'Requested-At': requestedAt,
  };
  const lines = Object.entries(trailers).map(([name, value]) => `${name}: ${oneLine(value)}`);
  const subject = `Roll back ${oneLine(model)} in ${oneLine(environment)}`;
  return `${subject}\n\n${oneLine(reason)}\n\n${lines.join('\n')}\n`;
}

/** What a commit of ours says of itself; a commit of somebody else says nothing. */
export interface DeployTrailers {
  readonly commit: string;
  /** The release that it deploys. */
  readonly release: string;
  /** The release that it takes back. */
  readonly rollbackOf: string;
  readonly model: string;
  readonly environment: string;
  readonly requestedAt: string;
  /** Committer's date. ISO 8601. */
  readonly committedAt: string;
}

const FIELDS = ['Release-Id', ROLLBACK_TRAILER, 'Model', 'Environment', 'Requested-At'] as const;
const UNIT = '%x1f';
const RECORD = '%x1e';

/** `--format` for git log whose output {@link parseLog} reads. */
export const LOG_FORMAT = `--format=%H${FIELDS.map((name) => `${UNIT}%(trailers:key=${name},valueonly,separator=%x2C)`).join('')}${UNIT}%cI${RECORD}`;

export function parseLog(output: string): DeployTrailers[] {
  return output
    .split('\x1e')
    .map((record) => record.trim().split('\x1f'))
    .filter((fields) => fields.length === FIELDS.length + 2)
    .map((fields) => {
      const [commit = '', ...trailers] = fields.map((field) => field.trim());
      const [
        release = '',
        rollbackOf = '',
        model = '',
        environment = '',
        requestedAt = '',
        committedAt = '',
      ] = trailers;
      return { commit, release, rollbackOf, model, environment, requestedAt, committedAt };
    });
}

/** A trailer ends with its line, so a value never has a second one. */
function oneLine(value: string): string {
  return value.replace(/[\r\n]+/g, ' ');
}
