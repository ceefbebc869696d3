// What an Argo CD Application says (argoproj.io/v1alpha1, Argo CD 3): which source is ours, and how far a sync has come.
// Pure.
import { posix } from 'node:path';
import type { Condition, KubernetesObject } from '../../kubernetes/objects.js';

export interface ApplicationSource {
  readonly repoURL: string;
  readonly path?: string;
  readonly targetRevision?: string;
  readonly chart?: string;
  readonly directory?: { readonly recurse?: boolean };
  readonly helm?: { readonly valueFiles?: readonly string[] };
  /** What other sources call this one by, in their files of values. */
  readonly ref?: string;
}

export interface Application extends KubernetesObject {
  readonly spec: {
    readonly project?: string;
    readonly source?: ApplicationSource;
    readonly sources?: readonly ApplicationSource[];
    readonly destination?: { readonly namespace?: string; readonly server?: string; readonly name?: string };
    readonly syncPolicy?: { readonly automated?: { readonly enabled?: boolean } | null };
  };
  readonly status?: {
    readonly sync?: {
      readonly status?: string;
      readonly revision?: string;
      readonly revisions?: readonly string[];
    };
    readonly health?: { readonly status?: string; readonly message?: string };
    readonly conditions?: readonly Pick<Condition, 'type' | 'message' | 'lastTransitionTime'>[];
    readonly reconciledAt?: string;
    readonly operationState?: {
      readonly phase?: 'Running' | 'Terminating' | 'Failed' | 'Error' | 'Succeeded';
      readonly message?: string;
      readonly startedAt?: string;
      readonly finishedAt?: string;
      readonly syncResult?: {
        readonly revision?: string;
        readonly revisions?: readonly string[];
        readonly resources?: readonly SyncedResource[];
      };
    };
    readonly resources?: readonly AppResource[];
  };
}

interface SyncedResource {
  readonly kind?: string;
  readonly name?: string;
  readonly status?: string;
  readonly message?: string;
  readonly hookPhase?: string;
}

export interface AppResource {
  readonly group?: string;
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
  readonly health?: { readonly status?: string; readonly message?: string };
}

export interface SourceOf {
  readonly source: ApplicationSource;
  /** Its place among several; undefined where the Application has a single one. */
  readonly index: number | undefined;
}

/** Every source of the Application that reads the repository. */
export function sourcesFor({ spec }: Application, repository: string): SourceOf[] {
  const all: SourceOf[] = spec.sources?.length
    ? spec.sources.map((source, index) => ({ source, index }))
    : spec.source
      ? [{ source: spec.source, index: undefined }]
      : [];
  return all.filter(({ source }) => !source.chart && sameRepository(source.repoURL, repository));
}

/** One repository has several URLs: with and without .git, over https and over ssh. */
export function sameRepository(a: string, b: string): boolean {
  return normalized(a) === normalized(b);
}

function normalized(url: string): string {
  const scp = /^(?:[^@/]+@)?([^/:]+):(?!\/\/)(.+)$/.exec(url);
  const text = scp && !url.includes('://') ? `ssh://${scp[1]}/${scp[2]}` : url;
  let host = '';
  let path = text;
  try {
    const parsed = new URL(text);
    // The port tells servers apart, except that a protocol's own says nothing.
    host = parsed.protocol === 'file:' ? '' : parsed.host.toLowerCase().replace(/:(?:22|80|443)$/, '');
    path = decodeURIComponent(parsed.pathname);
  } catch {
    // a path
  }
  return `${host}/${path
    .replace(/^\/+/, '')
    .replace(/\/+$/, '')
    .replace(/\.git$/, '')}`;
}

/** Whether a source would render the manifest: it lies in its path, or below where that is read recursively. */
export function covers(source: ApplicationSource, manifest: string): boolean {
  const root = posix.normalize(source.path ?? '.').replace(/\/$/, '');
  const directory = posix.dirname(posix.normalize(manifest));
  if (root === directory) return true;
  const below = root === '.' || directory.startsWith(`${root}/`);
  return below && source.directory?.recurse === true;
}

/**
 * Whether a chart is rendered with the manifest as a file of values: the source's own chart, or another's that refers to the
 * source as `$ref` (Argo CD, "Helm value files from external Git repository").
 */
export function isValuesOf({ spec }: Application, source: ApplicationSource, manifest: string): boolean {
  const file = posix.normalize(manifest);
  const at = (name: string) => (name.startsWith('/') ? name.slice(1) : posix.join(source.path ?? '.', name));
  if (source.helm?.valueFiles?.some((name) => posix.normalize(at(name)) === file)) return true;
  const referring = source.ref === undefined ? [] : (spec.sources ?? []);
  return referring.some(({ helm }) => helm?.valueFiles?.includes(`$${source.ref}/${file}`));
}

export function revisionAt(
  index: number | undefined,
  one: string | undefined,
  several: readonly string[] | undefined,
): string | undefined {
  return index === undefined ? one : several?.[index];
}

/** What Argo CD itself says is wrong: its conditions, and what of a sync failed. */
export function complaints(application: Application): string[] {
  const { conditions = [], operationState } = application.status ?? {};
  const failed = (operationState?.syncResult?.resources ?? []).filter(
    ({ status, hookPhase }) => status === 'SyncFailed' || hookPhase === 'Failed' || hookPhase === 'Error',
  );
  return [
    ...conditions.filter(({ type }) => /Error$/.test(type)).map(({ type, message }) => `${type}: ${message}`),
    ...(operationState?.phase === 'Failed' || operationState?.phase === 'Error'
      ? [`sync ${operationState.phase.toLowerCase()}: ${operationState.message ?? ''}`]
      : []),
    ...failed.map(({ kind, name, message }) => `${kind}/${name}: ${message ?? 'failed'}`),
  ];
}

/** What of the deployed resources is not healthy, in Argo CD's words. */
export function ailing(application: Application): string[] {
  return (application.status?.resources ?? [])
    .filter(({ health }) => health?.status && health.status !== 'Healthy')
    .map(
      ({ kind, name, health }) =>
        `${kind}/${name} is ${health?.status}${health?.message ? `: ${health.message}` : ''}`,
    );
}

/** Why Argo CD does not look at the Application at all; undefined where it does. */
export function pausedBy({ metadata }: Application): string | undefined {
  const skipped = metadata.annotations?.['argocd.argoproj.io/skip-reconcile'] === 'true';
  return skipped ? 'the Application is paused: annotation argocd.argoproj.io/skip-reconcile' : undefined;
}

/** Why Argo CD would not sync by itself; undefined where it would. */
export function heldBack(application: Application): string | undefined {
  const automated = application.spec.syncPolicy?.automated;
  if (!automated || automated.enabled === false) {
    return 'the Application’s sync policy is manual, and nobody has synced it';
  }
  return pausedBy(application);
}
