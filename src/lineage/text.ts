// Answers as text for a terminal, and as graphs (Graphviz, Mermaid). Pure.
import type {
  DeploymentWindow,
  ImpactAnswer,
  ImpactedDeployment,
  LineageAnswer,
  ReleaseAnswer,
  ServedAnswer,
} from './answer.js';

/** Of very many, so many are told. */
const MOST_LINES = 20;

export function lineageText({ query, matches, releases, more }: LineageAnswer): string {
  const kinds = matches.map(({ kind, id }) => (id === query ? kind : `${kind} ${id}`));
  const shared = releases.length > 1 ? `, of ${more ? 'more than ' : ''}${releases.length} releases` : '';
  return [`${query}: ${kinds.join(', ')}${shared}`, ...releases.map(chainText)].join('\n\n');
}

/** From the release to what runs, a line each. */
export function chainText(answer: ReleaseAnswer): string {
  const { training, metrics } = answer;
  const rows: [string, string | null | undefined][] = [
    ['release', `${answer.release}  ${answer.status}, asked for at ${answer.requestedAt}`],
    ['commit', answer.commit && `${answer.commit}  ${answer.repository} at ${answer.ref}`],
    ['dataset', answer.dataset && join(answer.dataset, answer.datasetDigest)],
    ['training run', training && join(training.job, metrics && named(metrics))],
    ['  parameters', Object.keys(answer.parameters).length > 0 ? named(answer.parameters) : null],
    ['  trainer', training?.image],
    ...answer.pods
      .filter(({ environment }) => environment === null)
      .map(({ name, ending }): [string, string] => ['  pod', join(name, ending)]),
    ['model', answer.modelId && join(answer.modelId, answer.modelDigest)],
    ['image', answer.image && `${answer.image}@${answer.imageDigest}`],
    ...answer.baseImages.map(({ name, digest }): [string, string] => ['  base', `${name}@${digest}`]),
    ...answer.deployments.flatMap((deployment): [string, string][] => [
      [deployment.environment, windowText(deployment)],
      ['  GitOps commit', deployment.commit],
      ...answer.pods
        .filter(({ environment }) => environment === deployment.environment)
        .map(({ namespace, name }): [string, string] => ['  pod', `${namespace}/${name}`]),
    ]),
    ['rolled back to', answer.rollback?.to.release],
    ['instead of', answer.rollback && join(answer.rollback.from.release, answer.rollback.reason ?? null)],
    ['ended because', answer.problem && `${answer.problem.message} [${answer.problem.code}]`],
    ['trace', answer.traceId],
    ['execution', answer.execution],
    ['asked for by', byWhom(answer)],
    ...answer.approvals.map(({ environment, decision, by, at, comment }): [string, string] => [
      `${environment} was`,
      join(`${decision} by ${by} at ${at}`, comment ?? null),
    ]),
  ];
  return rows
    .filter((row): row is [string, string] => Boolean(row[1]))
    .map(([name, value]) => `  ${name.padEnd(16)} ${value}`)
    .join('\n');
}

function byWhom({ requestedBy, triggeredBy }: ReleaseAnswer): string | null {
  if (!requestedBy || !triggeredBy || requestedBy === triggeredBy) return requestedBy ?? triggeredBy;
  return `${requestedBy}, through ${triggeredBy}`;
}

export function servedText({ environment, at, releases }: ServedAnswer): string {
  if (releases.length === 0) return `${environment} served nothing at ${at} that is known`;
  return [`${environment} at ${at}:`, ...releases.map(chainText)].join('\n\n');
}

export function impactText(answer: ImpactAnswer): string {
  const { query, matches, releases, models, images, deployments, serving } = answer;
  const counts = [
    plural(releases, 'release'),
    plural(new Set(models.map(({ modelDigest }) => modelDigest)).size, 'model'),
    plural(new Set(images.map(({ imageDigest }) => imageDigest)).size, 'image'),
    plural(deployments.length, 'deployment'),
  ];
  const past = deployments.filter((one) => !serving.includes(one));
  return [
    `${query}: ${[...new Set(matches.map(({ kind }) => kind))].join(', ')}`,
    `  ${counts.join(', ')}`,
    '',
    serving.length > 0 ? 'serving now' : 'nothing of it serves now',
    ...some(serving),
    ...(past.length > 0 ? ['', 'before', ...some(past)] : []),
  ].join('\n');
}

function some(all: readonly ImpactedDeployment[]): string[] {
  const lines = all
    .slice(0, MOST_LINES)
    .map(
      (one) =>
        `  ${one.environment.padEnd(12)} ${one.model.padEnd(16)} ${one.release}  ${(one.imageDigest ?? '').slice(0, 19)}  ${windowText(one)}`,
    );
  const left = all.length - MOST_LINES;
  return left > 0 ? [...lines, `  … and ${left} more (--json has them)`] : lines;
}

function windowText({ from, to, rollback }: DeploymentWindow): string {
  if (from === null) return 'committed, and not known to have been rolled out';
  return `since ${from}${to === null ? '' : ` until ${to}`}${rollback ? ' (brought back by hand)' : ''}`;
}

const plural = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;
const join = (...texts: (string | null | undefined)[]) => texts.filter(Boolean).join('  ');
const named = (values: Readonly<Record<string, unknown>>) =>
  Object.entries(values)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');

interface Graph {
  readonly nodes: ReadonlyMap<string, { readonly kind: string; readonly label: string }>;
  readonly edges: readonly (readonly [from: string, to: string, label: string])[];
}

function graphOf(releases: readonly ReleaseAnswer[]): Graph {
  const nodes = new Map<string, { kind: string; label: string }>();
  const edges = new Map<string, readonly [string, string, string]>();
  const node = (kind: string, id: string, label = id) => {
    nodes.set(`${kind} ${id}`, { kind, label });
    return `${kind} ${id}`;
  };
  const edge = (from: string | undefined, to: string | undefined, label: string) => {
    if (from && to) edges.set(`${from}\n${to}`, [from, to, label]);
  };
  for (const one of releases) {
    const commit = one.commit ? node('commit', one.commit, one.commit.slice(0, 12)) : undefined;
    const dataset = one.dataset ? node('dataset', one.dataset) : undefined;
    const run = one.training ? node('training run', one.training.job) : undefined;
    const model = one.modelDigest
      ? node('model', one.modelDigest, `${one.modelId} ${one.modelDigest.slice(0, 19)}`)
      : undefined;
    const image = one.imageDigest ? node('image', one.imageDigest, one.imageDigest.slice(0, 19)) : undefined;
    edge(commit, run, 'trained');
    edge(dataset, run, 'trained on');
    edge(run, model, 'made');
    edge(model, image, 'baked into');
    edge(commit, image, 'built');
    for (const window of one.deployments) {
      const deployed = node('GitOps commit', window.commit, window.commit.slice(0, 12));
      edge(image, deployed, 'deployed by');
      const until = window.to ? `${window.from} – ${window.to}` : `since ${window.from}`;
      edge(deployed, node('environment', window.environment), window.from ? until : 'not rolled out');
    }
  }
  return { nodes, edges: [...edges.values()] };
}

/** Graphviz, the DOT language. */
export function lineageDot({ releases }: LineageAnswer): string {
  const { nodes, edges } = graphOf(releases);
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&').replaceAll('\n', '\\n')}"`;
  return [
    'digraph lineage {',
    '  rankdir=LR; node [shape=box];',
    ...[...nodes].map(([id, { kind, label }]) => `  ${quoted(id)} [label=${quoted(`${kind}\n${label}`)}];`),
    ...edges.map(([from, to, label]) => `  ${quoted(from)} -> ${quoted(to)} [label=${quoted(label)}];`),
    '}',
  ].join('\n');
}

/** Mermaid, a flowchart. */
export function lineageMermaid({ releases }: LineageAnswer): string {
  const { nodes, edges } = graphOf(releases);
  const ids = new Map([...nodes.keys()].map((key, index) => [key, `n${index}`]));
  // Mermaid documentation, "Entity codes to escape characters".
  const quoted = (text: string) =>
    `"${text.replaceAll(/[#"<>&`]/g, (sign) => `#${sign.charCodeAt(0)};`).replaceAll('\n', '<br/>')}"`;
  return [
    'flowchart LR',
    ...[...nodes].map(([key, { kind, label }]) => `  ${ids.get(key)}[${quoted(`${kind}\n${label}`)}]`),
    ...edges.map(([from, to, label]) => `  ${ids.get(from)} -->|${quoted(label)}| ${ids.get(to)}`),
  ].join('\n');
}
