// A release as text for a terminal.
import { formatProblem } from '../domain/errors.js';
import type { ProposedPullRequest } from '../domain/pull-request.js';
import { type GitOpsCommit, type ReleaseRecord, STAGE_MARKS, type Stage } from '../domain/release.js';
import { describeVerification } from '../domain/verification.js';
import { describeProgress } from '../gateway/present.js';
import { formatDuration } from '../plan/index.js';
import type { ReleaseSummary, ReleaseView } from '../releases/service.js';

export function describeRelease({ record, pending, note }: ReleaseView): string {
  const rows: [string, string | undefined][] = [
    ['release', record.release],
    ['status', record.status],
    ['doing', record.outcome ? undefined : describeProgress(record, pending)],
    ['note', note],
    ['model', record.model],
    ['repository', record.request.repository && `${record.request.repository} at ${record.request.ref}`],
    ['commit', record.commit],
    ['dataset', record.dataset && datasetText(record)],
    ['training', record.training && `${record.training.job}, ${metricsText(record)}`],
    ['model id', record.training && `${record.training.id} ${record.training.digest}`],
    ['image', record.image?.reference],
    ...record.deployments.map((one): [string, string] => [
      one.environment,
      `${one.commit} in ${one.repository}${mergeText(one)}`,
    ]),
    ...unmerged(record).map(({ environment, url }): [string, string] => [environment, `proposed by ${url}`]),
    ...(record.approvals ?? []).map(({ environment, decision, by, comment }): [string, string] => [
      environment,
      `${decision} by ${by}${comment ? `: ${comment}` : ''}`,
    ]),
    ...(record.verifications ?? []).map((one): [string, string] => [
      one.environment,
      `check ${describeVerification(one)}`,
    ]),
    ['trace', record.traceId],
  ];
  const lines = rows.filter(([, value]) => value).map(([name, value]) => `${name.padEnd(11)} ${value}`);
  const stages = record.stages.map((stage) => describeStage(stage));
  const problem =
    record.outcome && 'problem' in record.outcome ? ['', formatProblem(record.outcome.problem)] : [];
  return [...lines, ...(stages.length > 0 ? ['', ...stages] : []), ...problem].join('\n');
}

function mergeText({ pullRequest }: GitOpsCommit): string {
  if (!pullRequest) return '';
  const { url, mergedBy } = pullRequest;
  return `, ${url} merged${mergedBy ? ` by ${mergedBy}` : ''}`;
}

function unmerged({ proposed = [], deployments }: ReleaseRecord): readonly ProposedPullRequest[] {
  return proposed.filter(({ environment }) => !deployments.some((one) => one.environment === environment));
}

export function describeStage(stage: Stage): string {
  const end = stage.endedAt ? Date.parse(stage.endedAt) : Date.now();
  const seconds = (end - Date.parse(stage.startedAt)) / 1000;
  return `${STAGE_MARKS[stage.status]} ${stage.name.padEnd(20)} ${formatDuration(seconds)}`;
}

export function metricsText(record: ReleaseRecord): string {
  return Object.entries(record.training?.metrics ?? {})
    .map(([name, value]) => `${name} ${typeof value === 'number' ? Number(value.toPrecision(4)) : value}`)
    .join(', ');
}

function datasetText({ dataset }: ReleaseRecord): string {
  return dataset ? `${dataset.name}@${dataset.version}${dataset.digest ? ` ${dataset.digest}` : ''}` : '';
}

export function describeList(releases: readonly ReleaseSummary[]): string {
  if (releases.length === 0) return 'no releases';
  const rows = releases.map((one) => [
    one.release,
    one.status,
    one.model ?? '-',
    one.commit?.slice(0, 12) ?? '-',
    one.modelId ?? '-',
    one.startedAt.replace(/\.\d+Z$/, 'Z'),
  ]);
  const table = [['RELEASE', 'STATUS', 'MODEL', 'COMMIT', 'MODEL ID', 'STARTED'], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  return table
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
