// What differs between two releases. Pure.
import type { ReleaseAnswer } from './answer.js';
import type { StageTimes } from './schema.js';

/** A thing that is one way in the first release and another in the second; null where one of them has none. */
export interface Change<T> {
  readonly name: string;
  readonly from: T | null;
  readonly to: T | null;
}

export interface Difference {
  readonly from: string;
  readonly to: string;
  /** Facts by name: commit, dataset, model, image and the like. Only what differs. */
  readonly facts: readonly Change<string>[];
  readonly parameters: readonly Change<string>[];
  readonly metrics: readonly Change<number | string>[];
  /** Seconds that the stages took; all of them. */
  readonly stages: readonly Change<number>[];
}

const FACTS = [
  'status',
  'model',
  'repository',
  'ref',
  'commit',
  'dataset',
  'datasetDigest',
  'modelId',
  'modelDigest',
  'image',
  'imageDigest',
] as const satisfies readonly (keyof ReleaseAnswer)[];

export function differenceOf(a: ReleaseAnswer, b: ReleaseAnswer): Difference {
  const trainers: Change<string> = {
    name: 'trainer',
    from: a.training?.image ?? null,
    to: b.training?.image ?? null,
  };
  const facts = FACTS.map((name): Change<string> => ({ name, from: a[name], to: b[name] }));
  return {
    from: a.release,
    to: b.release,
    facts: [...facts, trainers].filter(differs),
    parameters: changesOf(a.parameters, b.parameters),
    metrics: changesOf(a.metrics ?? {}, b.metrics ?? {}),
    stages: allOf(seconds(a.stages), seconds(b.stages)),
  };
}

const differs = <T>({ from, to }: Change<T>) => from !== to;

type Named<T> = Readonly<Record<string, T>>;

function allOf<T>(a: Named<T>, b: Named<T>): Change<T>[] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])];
  return names.map((name) => ({ name, from: a[name] ?? null, to: b[name] ?? null }));
}

const changesOf = <T>(a: Named<T>, b: Named<T>) => allOf(a, b).filter(differs);

function seconds(stages: readonly StageTimes[]): Record<string, number> {
  return Object.fromEntries(
    stages.flatMap(({ name, startedAt, endedAt }) =>
      endedAt ? [[name, (Date.parse(endedAt) - Date.parse(startedAt)) / 1000]] : [],
    ),
  );
}

/** Commits between the two, a line each; undefined where git could not be asked. */
export type CommitLog =
  | { readonly added: readonly string[]; readonly removed: readonly string[] }
  | undefined;

/** Layers of the two images by digest; undefined where a registry could not be asked. */
export type LayerChange =
  | {
      /** How many both have. */
      readonly shared: number;
      readonly added: readonly Layer[];
      readonly removed: readonly Layer[];
    }
  | undefined;

export interface Layer {
  readonly digest: string;
  /** Bytes, as they lie in the registry. */
  readonly size: number;
}

export function layerChange(from: readonly Layer[], to: readonly Layer[]): NonNullable<LayerChange> {
  const [before, after] = [from, to].map((layers) => new Set(layers.map(({ digest }) => digest)));
  return {
    shared: to.filter(({ digest }) => before?.has(digest)).length,
    added: to.filter(({ digest }) => !before?.has(digest)),
    removed: from.filter(({ digest }) => !after?.has(digest)),
  };
}

export function differenceText(difference: Difference, log: CommitLog, layers?: LayerChange): string {
  const { from, to, facts, parameters, metrics, stages } = difference;
  const line = ({ name, from: before, to: after }: Change<unknown>) =>
    `  ${name.padEnd(16)} ${before ?? '(none)'} → ${after ?? '(none)'}`;
  const section = (title: string, lines: readonly string[]) =>
    lines.length > 0 ? ['', title, ...lines] : [];
  const commits = log
    ? [...log.removed.map((one) => `  - ${one}`), ...log.added.map((one) => `  + ${one}`)]
    : [];
  const change = (before: number | null, after: number | null) =>
    before && after !== null
      ? `  ${after >= before ? '+' : ''}${Math.round(((after - before) / before) * 100)} %`
      : '';
  return [
    `${from} → ${to}`,
    ...(facts.length + parameters.length + metrics.length === 0 ? ['', 'nothing but the time differs'] : []),
    ...section('differs', facts.map(line)),
    ...section('commits', commits),
    ...section('layers of the image', layers ? [`  ${layers.shared} shared`, ...layersText(layers)] : []),
    ...section('parameters', parameters.map(line)),
    ...section('metrics', metrics.map(line)),
    ...section(
      'seconds',
      stages.map((stage) => `${line(stage)}${change(stage.from, stage.to)}`),
    ),
  ].join('\n');
}

const layersText = ({ added, removed }: NonNullable<LayerChange>) => [
  ...removed.map(({ digest, size }) => `  - ${digest}  ${size} bytes`),
  ...added.map(({ digest, size }) => `  + ${digest}  ${size} bytes`),
];
