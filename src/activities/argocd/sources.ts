// Which source of an Application deploys a manifest: by repository, branch and path.
import { ThroughlineError } from '../../domain/errors.js';
import type { GitOpsRepository } from '../gitops/change.js';
import { type Application, covers, type SourceOf, sourcesFor } from './application.js';
import type { SyncTarget } from './watcher.js';

/** The source that deploys the manifest. Throws TL_APPLICATION_MISMATCH. */
export async function sourceOf(
  gitops: GitOpsRepository,
  application: Application,
  target: SyncTarget,
  signal: AbortSignal,
): Promise<SourceOf> {
  const { repository, branch, manifest } = target;
  const where = `Application ${target.namespace}/${target.application}`;
  const mismatch = (what: string, found: string) =>
    new ThroughlineError('TL_APPLICATION_MISMATCH', `${where} does not watch ${what}`, {
      expected: `a source with repository ${repository}, branch ${branch}, and a path that has ${manifest}`,
      found,
    });
  const sources = sourcesFor(application, repository);
  const all = [application.spec.source, ...(application.spec.sources ?? [])].filter(
    (source) => source !== undefined,
  );
  if (sources.length === 0)
    throw mismatch('the repository', all.map(({ repoURL }) => repoURL).join(', ') || 'no source');
  const heads = sources.some(({ source }) => !source.targetRevision || source.targetRevision === 'HEAD');
  const head = heads ? await gitops.defaultBranch(repository, signal) : undefined;
  const branchOf = ({ source }: SourceOf) => {
    const revision = source.targetRevision ?? 'HEAD';
    return revision === 'HEAD' || revision === '' ? head : revision.replace(/^refs\/heads\//, '');
  };
  const onBranch = sources.filter((one) => branchOf(one) === branch);
  if (onBranch.length === 0) {
    throw mismatch(
      'the branch',
      sources
        .map((one) => `${one.source.targetRevision ?? 'HEAD'}${head ? ` (HEAD is ${head})` : ''}`)
        .join(', '),
    );
  }
  const covering =
    onBranch.find(({ source }) => covers(source, manifest)) ??
    (await kustomized(gitops, onBranch, target, signal));
  if (!covering)
    throw mismatch('the manifest', onBranch.map(({ source }) => `path ${source.path ?? '.'}`).join(', '));
  return covering;
}

/** A Kustomize overlay deploys files that lie elsewhere; which ones, only a build of it would say. */
async function kustomized(
  gitops: GitOpsRepository,
  sources: readonly SourceOf[],
  { repository, branch }: SyncTarget,
  signal: AbortSignal,
): Promise<SourceOf | undefined> {
  for (const one of sources) {
    if (await gitops.hasKustomization(repository, branch, one.source.path ?? '.', signal)) return one;
  }
  return undefined;
}
