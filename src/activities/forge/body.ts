// What a pull request says of itself: its title, and the chain of evidence behind it, for whoever has to decide; and a mark
// by which it is found again. Pure; every text in it may be somebody else's (markdown.ts says what is done about that).
import type { ApprovalRecord } from '../../domain/approval.js';
import { type CommitSha, type Digest, isReleaseId, type ReleaseId } from '../../domain/ids.js';
import { cell, code, link, titleText, wellFormed } from './markdown.js';

export interface PullRequestEvidence {
  readonly release: { readonly id: ReleaseId; readonly url?: string | undefined };
  /** When the release was asked for. ISO 8601, UTC: the order between releases of one model. */
  readonly requestedAt: string;
  readonly environment: string;
  readonly model: string;
  readonly modelId: string;
  readonly modelDigest?: Digest | undefined;
  readonly source: { readonly repository: string; readonly commit: CommitSha };
  readonly dataset: {
    readonly name: string;
    readonly version: string;
    readonly digest?: string | undefined;
  };
  readonly metrics: readonly MetricEvidence[];
  readonly image: { readonly name: string; readonly digest: Digest };
  /** W3C. */
  readonly traceparent: string;
  readonly approvals: readonly Pick<ApprovalRecord, 'by' | 'at' | 'comment'>[];
  readonly changes: readonly FieldChange[];
}

export interface MetricEvidence {
  readonly name: string;
  readonly value: number;
  /** What it had to be, in words: `at least 0.95`. */
  readonly gate?: string | undefined;
}

/** A field of a file, as it was and as it becomes; undefined where it was not there, or is not any more. */
export interface FieldChange {
  readonly file: string;
  readonly field: string;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

export interface PullRequestText {
  readonly title: string;
  /** Markdown. */
  readonly body: string;
}

/** GitLab and Gitea take 255. */
const MOST_TITLE = 250;
/** GitHub takes 65,536 characters; nobody reads more rows than these. */
const MOST_METRICS = 30;
const MOST_CHANGES = 60;
const MOST_APPROVALS = 20;
/** Of a cell: a row of changes has four. */
const MOST_VALUE = 120;

export function pullRequestText(evidence: PullRequestEvidence): PullRequestText {
  const { environment, model, modelId } = evidence;
  const title = wellFormed(
    `Deploy ${titleText(model, 60)} ${titleText(modelId, 80)} to ${titleText(environment, 60)}`.slice(
      0,
      MOST_TITLE,
    ),
  );
  const sections = [
    `Release ${link(evidence.release.id, evidence.release.url) ?? code(evidence.release.id)} deploys ${code(modelId)} of the model ${code(model)} to ${code(environment)}.`,
    table(['', 'what', 'digest or id'], evidenceRows(evidence)),
    evidence.metrics.length > 0 && `### Metrics\n\n${metricTable(evidence.metrics)}`,
    evidence.approvals.length > 0 && `### Approvals\n\n${approvalTable(evidence.approvals)}`,
    `### Changes\n\n${changeTable(evidence.changes)}`,
    'Throughline waits until this is merged, and goes on with the deployment then. Closing it ends the deployment.',
    mark({ release: evidence.release.id, environment, requestedAt: evidence.requestedAt }),
  ];
  return { title, body: `${sections.filter((section) => section !== false).join('\n\n')}\n` };
}

function evidenceRows(evidence: PullRequestEvidence): string[][] {
  const { source, dataset, image, traceparent } = evidence;
  return [
    ['Source', cell(source.repository), cell(source.commit)],
    ['Dataset', cell(`${dataset.name} ${dataset.version}`), cell(dataset.digest ?? '')],
    ['Model', cell(evidence.modelId), cell(evidence.modelDigest ?? '')],
    ['Image', cell(image.name), cell(image.digest)],
    ['Trace', cell(traceparent.split('-')[1] ?? ''), cell(traceparent)],
  ];
}

function metricTable(metrics: readonly MetricEvidence[]): string {
  const rows = metrics
    .slice(0, MOST_METRICS)
    .map(({ name, value, gate }) => [
      cell(name, MOST_VALUE),
      cell(String(value)),
      gate ? cell(gate, MOST_VALUE) : '–',
    ]);
  return table(['metric', 'value', 'gate'], rows, metrics.length - rows.length);
}

function approvalTable(approvals: PullRequestEvidence['approvals']): string {
  const rows = approvals
    .slice(0, MOST_APPROVALS)
    .map(({ by, at, comment }) => [cell(by, MOST_VALUE), cell(at), cell(comment ?? '')]);
  return table(['by', 'at', 'comment'], rows, approvals.length - rows.length);
}

function changeTable(changes: readonly FieldChange[]): string {
  if (changes.length === 0) return 'Nothing.';
  const rows = changes
    .slice(0, MOST_CHANGES)
    .map(({ file, field, from, to }) =>
      [file, field, from ?? '', to ?? ''].map((one) => cell(one, MOST_VALUE)),
    );
  return table(['file', 'field', 'from', 'to'], rows, changes.length - rows.length);
}

function table(head: readonly string[], rows: readonly (readonly string[])[], left = 0): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const lines = [line(head), line(head.map(() => '---')), ...rows.map(line)];
  return `${lines.join('\n')}${left > 0 ? `\n\nAnd ${left} more.` : ''}`;
}

export interface PullRequestMark {
  readonly release: ReleaseId;
  readonly environment: string;
  readonly requestedAt: string;
}

/** Seen by no reader: HTML comments are not rendered. No value in it can end one. */
function mark({ release, environment, requestedAt }: PullRequestMark): string {
  const value = (text: string) => encodeURIComponent(text).replaceAll('-', '%2D');
  return `<!-- throughline Release-Id=${release} Environment=${value(environment)} Requested-At=${value(requestedAt)} -->`;
}

const MARK = /^<!-- throughline Release-Id=(\S+) Environment=(\S*) Requested-At=(\S+) -->\s*$/gm;

/** Whose pull request it is, as its body says; undefined where it says nothing. The last mark counts: ours is last. */
export function markOf(body: string): PullRequestMark | undefined {
  const [, release = '', ...values] = [...body.matchAll(MARK)].at(-1) ?? [];
  if (!isReleaseId(release)) return undefined;
  try {
    const [environment = '', requestedAt = ''] = values.map(decodeURIComponent);
    return Number.isNaN(Date.parse(requestedAt)) ? undefined : { release, environment, requestedAt };
  } catch {
    return undefined;
  }
}
