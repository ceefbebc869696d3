// The message of a GitOps commit, written and read: its trailers are how a later attempt finds what an earlier one did
// (I3), and how a release sees that a newer one was there before it (I4).
import type { ApprovalRecord } from '../../domain/approval.js';

/** Of a commit by which somebody keeps releases away from a target, with the reason; and of one that lifts that. */
export const HOLD_TRAILER = 'Throughline-Hold';
export const UNHOLD_TRAILER = 'Throughline-Unhold';

/** A model in an environment. */
export interface TargetName {
  readonly model: string;
  readonly environment: string;
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
}

export function formatMessage(message: DeployMessage): string {
  const { approval } = message;
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

/** What a deploying commit says of itself. */
export interface DeployTrailers {
  readonly commit: string;
  readonly release: string;
  readonly model: string;
  readonly environment: string;
  readonly requestedAt: string;
  /** Committer's date. ISO 8601. */
  readonly committedAt: string;
}

const FIELDS = ['Release-Id', 'Model', 'Environment', 'Requested-At'] as const;
const UNIT = '%x1f';
const RECORD = '%x1e';

/** `--format` for git log whose output {@link parseLog} reads. */
export const LOG_FORMAT = `--format=%H${FIELDS.map((name) => `${UNIT}%(trailers:key=${name},valueonly,separator=%x2C)`).join('')}${UNIT}%cI${RECORD}`;

export function parseLog(output: string): DeployTrailers[] {
  return output
    .split('\x1e')
    .map((record) => record.trim().split('\x1f'))
    .filter((fields) => fields.length === FIELDS.length + 2)
    .map(([commit = '', release = '', model = '', environment = '', requestedAt = '', committedAt = '']) => ({
      commit,
      release: release.trim(),
      model: model.trim(),
      environment: environment.trim(),
      requestedAt: requestedAt.trim(),
      committedAt: committedAt.trim(),
    }));
}

/** A trailer ends with its line, so a value never has a second one. */
function oneLine(value: string): string {
  return value.replace(/[\r\n]+/g, ' ');
}
