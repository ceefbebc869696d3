// What an id that somebody has in hand could be. Its form says: most have one that is theirs alone, some share one (32
// hex digits are a trace or the begin of a commit), and a plain name can be several things. Pure.
import { isReleaseId } from '../domain/ids.js';

export const KINDS = [
  'release',
  'trace',
  'span',
  'run',
  'execution',
  'commit',
  'gitops-commit',
  'dataset',
  'model',
  'image',
  'trainer-image',
  'base-image',
  'job',
  'pod',
] as const;
export type Kind = (typeof KINDS)[number];

/** One thing that the id could be. All that are given must agree. */
export type Candidate =
  | { readonly kind: 'release' | 'trace' | 'span' | 'run' | 'execution'; readonly value: string }
  /** Whole or abbreviated. */
  | { readonly kind: 'commit' | 'gitops-commit'; readonly prefix: string }
  | { readonly kind: 'dataset'; readonly name: string; readonly version: string }
  | { readonly kind: 'dataset'; readonly digest: string }
  | { readonly kind: 'model'; readonly id?: string; readonly digest?: string; readonly name?: string }
  | { readonly kind: 'image' | 'trainer-image' | 'base-image'; readonly digest: string }
  | { readonly kind: 'image'; readonly repository: string; readonly tag?: string }
  | { readonly kind: 'job' | 'pod'; readonly name: string; readonly namespace?: string };

const TRACEPARENT = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}$/;
const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/;
const DIGEST = /sha256:[0-9a-f]{64}/;
/** git abbreviates to seven digits at least (git-rev-parse(1), core.abbrev). */
const COMMIT = /^[0-9a-f]{7,40}$/;
/** Longer than anything that is an id. */
const MOST = 1_024;

/** What a query is without what people copy along: white space, quotes. */
export function normalizeQuery(text: string): string {
  return text
    .slice(0, MOST)
    .replaceAll(/[\0-\x1f\x7f]/g, ' ') // no database takes them all, and no id has them
    .trim()
    .replace(/^["'`](.*)["'`]$/, '$1');
}

/** Everything that the id could be. `dataset:`, `commit:` and the like before it say what is meant. */
export function candidatesOf(query: string): Candidate[] {
  const [, word = '', rest = ''] = /^([a-z-]+):(.+)$/s.exec(query) ?? [];
  if ((KINDS as readonly string[]).includes(word)) {
    return candidatesOf(normalizeQuery(rest)).filter(({ kind }) => kind === word);
  }
  const hex = query.toLowerCase(); // digits are written in both cases; names are not
  const [, trace, span] = TRACEPARENT.exec(hex) ?? [];
  if (trace && span) {
    return [
      { kind: 'span', value: span },
      { kind: 'trace', value: trace },
    ];
  }
  if (isReleaseId(query)) return [{ kind: 'release', value: query }];
  const digest = DIGEST.exec(hex)?.[0];
  if (digest) {
    // In `repository:tag@sha256:…` the digest is what counts; by itself it can be anybody's.
    const image: Candidate[] = [
      { kind: 'image', digest },
      { kind: 'trainer-image', digest },
      { kind: 'base-image', digest },
      { kind: 'model', digest },
    ];
    return hex === digest ? [...image, { kind: 'dataset', digest }] : image;
  }
  const candidates: Candidate[] = [];
  if (/^[0-9a-f]{32}$/.test(hex)) candidates.push({ kind: 'trace', value: hex });
  if (/^[0-9a-f]{16}$/.test(hex)) candidates.push({ kind: 'span', value: hex });
  if (COMMIT.test(hex))
    candidates.push({ kind: 'commit', prefix: hex }, { kind: 'gitops-commit', prefix: hex });
  if (UUID.test(hex)) candidates.push({ kind: 'run', value: hex });
  candidates.push({ kind: 'execution', value: query });
  return [...candidates, ...named(query)];
}

/** What a name can be: with a slash it is a namespace's, or an image; with an @ a version is meant. */
function named(query: string): Candidate[] {
  const at = query.lastIndexOf('@');
  if (at > 0 && at < query.length - 1) {
    return [
      { kind: 'dataset', name: query.slice(0, at), version: query.slice(at + 1) },
      { kind: 'model', id: query },
    ];
  }
  const names: Candidate[] = [];
  const model: Candidate[] = [
    { kind: 'model', id: query },
    { kind: 'model', name: query },
  ];
  const [, namespace, name] = /^([a-z0-9-]+)\/([a-z0-9.-]+)$/.exec(query) ?? [];
  if (namespace && name) names.push({ kind: 'pod', namespace, name }, { kind: 'job', namespace, name });
  else names.push(...model, { kind: 'pod', name: query }, { kind: 'job', name: query });
  const [, repository = '', tag] = /^(.+?)(?::([\w][\w.-]{0,127}))?$/.exec(query) ?? [];
  names.push({ kind: 'image', repository, ...(tag ? { tag } : {}) });
  return names;
}
