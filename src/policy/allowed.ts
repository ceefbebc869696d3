// Holds a release to what the operator allows: the trigger where it arrives, the plan and its Job where they are read. All
// of it is said at once, by name, before anything runs. Pure.
import { ThroughlineError } from '../domain/errors.js';
import { matches } from '../domain/patterns.js';
import type { ReleaseScope } from '../domain/release.js';
import { redact, withoutUser } from '../domain/urls.js';
import type { JobManifest } from '../plan/job.js';
import type { PlanViolation } from '../plan/load.js';
import type { Plan } from '../plan/schema.js';
import type { Allowed } from './configuration.js';
import { containersOf, jobViolations } from './job.js';
import { covers } from './scopes.js';

/** Throws TL_NOT_ALLOWED where a trigger names a repository or a plan that releases may not use. */
export function checkTrigger(allow: Allowed, trigger: { repository: string; planPath: string }): void {
  const { repository, planPath } = trigger;
  if (!allowsRepository(allow.repositories, repository)) {
    throw new ThroughlineError('TL_NOT_ALLOWED', 'Releases of this repository are not allowed', {
      expected: `a repository like ${some(allow.repositories)}`,
      found: withoutUser(repository).slice(0, 300),
    });
  }
  if (allow.plans && !allow.plans.some((pattern) => matches(pattern, planPath))) {
    throw new ThroughlineError('TL_NOT_ALLOWED', 'Plans at this path are not allowed', {
      expected: `a path like ${some(allow.plans)}`,
      found: planPath.slice(0, 300),
    });
  }
}

/** Everything of a plan and its Job that reaches beyond what is allowed. */
export function planViolations(
  allow: Allowed,
  plan: Plan,
  job: JobManifest,
  defaultNamespace: string | undefined,
): PlanViolation[] {
  const found: PlanViolation[] = [];
  const refuse = (
    file: PlanViolation['file'],
    path: readonly (string | number)[],
    what: string,
    value: string,
    expected: string,
  ) => found.push({ file, path, problem: { message: `${what} ${value} is not allowed`, expected } });

  const image = (file: PlanViolation['file'], path: readonly (string | number)[], name: string) => {
    if (allow.registries && !allow.registries.some((pattern) => matches(pattern, fullImageName(name))))
      refuse(file, path, 'The image', name.slice(0, 300), `an image like ${some(allow.registries)}`);
  };
  image('plan', ['build', 'image'], plan.build.image);
  if (plan.train.build) image('plan', ['train', 'build', 'image'], plan.train.build.image);
  plan.deploy.forEach(({ repository, argocd, verify = [] }, index) => {
    if (!allowsRepository(allow.gitopsRepositories, repository)) {
      const expected = `a repository like ${some(allow.gitopsRepositories)}`;
      refuse(
        'plan',
        ['deploy', index, 'repository'],
        'The GitOps repository',
        withoutUser(repository),
        expected,
      );
    }
    verify.forEach(({ http, prometheus }, place) => {
      const kind = http ? 'http' : 'prometheus';
      const url = http?.url ?? prometheus?.url;
      if (url === undefined || allowsVerifyUrl(allow, url.replaceAll(/\{\{[^{}]*\}\}/g, 'x'))) return;
      const expected = `a URL like ${some(allow.verifyUrls)}`;
      const at = ['deploy', index, 'verify', place, kind, 'url'];
      refuse('plan', at, 'The URL', redact(url).slice(0, 300), expected);
    });
    if (argocd && allow.argocdNamespaces && !allow.argocdNamespaces.includes(argocd.namespace)) {
      const expected = `one of ${some(allow.argocdNamespaces)}`;
      refuse('plan', ['deploy', index, 'argocd', 'namespace'], 'The namespace', argocd.namespace, expected);
    }
  });

  const { namespace } = (job.metadata ?? {}) as { namespace?: unknown };
  const wanted = namespace === undefined ? defaultNamespace : String(namespace);
  if (wanted !== undefined && allow.namespaces && !allow.namespaces.includes(wanted)) {
    refuse(
      'job',
      ['metadata', 'namespace'],
      'The namespace',
      wanted.slice(0, 100),
      `one of ${some(allow.namespaces)}`,
    );
  }
  const { serviceAccountName, serviceAccount } = job.spec.template.spec as Record<string, unknown>;
  for (const [key, account] of Object.entries({ serviceAccountName, serviceAccount })) {
    if (account !== undefined && account !== '' && !allow.serviceAccounts.includes(String(account))) {
      const expected = `one of ${some(allow.serviceAccounts)}`;
      refuse(
        'job',
        ['spec', 'template', 'spec', key],
        'The service account',
        String(account).slice(0, 100),
        expected,
      );
    }
  }
  for (const { path, container } of containersOf(job)) {
    if (container.image !== undefined) image('job', [...path, 'image'], String(container.image));
  }
  for (const { path, what, feature } of jobViolations(job)) {
    if (allow.jobs.includes(feature)) continue;
    found.push({
      file: 'job',
      path,
      problem: {
        message: `The Job asks for ${what}, which is not allowed`,
        expected: 'a pod within the baseline of the Pod Security Standards',
        hint: `Leave it out; or an operator adds ${feature} to allow.jobs.`,
      },
    });
  }
  return found;
}

/** Throws TL_NOT_ALLOWED where a caller may not release this model, or not to all of these environments. */
export function checkScope(within: readonly ReleaseScope[] | undefined, plan: Plan): void {
  if (within === undefined) return;
  const model = plan.metadata.name;
  if (!within.some(({ models }) => models === undefined || models.includes(model))) {
    throw new ThroughlineError('TL_NOT_ALLOWED', `Whoever asked for this may not release ${model}`, {
      expected: `a model of: ${some(within.flatMap(({ models = [] }) => models))}`,
    });
  }
  const beyond = plan.deploy
    .map(({ environment }) => environment)
    .filter((one) => !covers(within, { model, environments: [one] }));
  if (beyond.length > 0) {
    throw new ThroughlineError(
      'TL_NOT_ALLOWED',
      `Whoever asked for this may not release ${model} to ${beyond.join(', ')}`,
      { expected: `environments of: ${some(within.flatMap(({ environments = [] }) => environments))}` },
    );
  }
}

function allowsRepository(allowed: readonly string[] | undefined, repository: string): boolean {
  if (!allowed) return true;
  const canonical = canonicalRepository(repository);
  return canonical !== undefined && allowed.some((pattern) => matches(pattern, canonical));
}

/** Whether a check may ask this, whatever its query is. */
export function allowsVerifyUrl({ verifyUrls }: Pick<Allowed, 'verifyUrls'>, url: string): boolean {
  return allowsRepository(verifyUrls, url.replace(/\?.*$/s, ''));
}

/**
 * The repository that a URL really leads to, as patterns see it: host in lower case, without a user, a default port, `..`
 * (written as `%2e%2e` too) and a slash at its end; `user@host:path` as the ssh URL that it stands for. Undefined where two
 * programs could read it differently.
 */
export function canonicalRepository(repository: string): string | undefined {
  if (/[\\\s]/.test(repository)) return undefined;
  const scp = /^(?:[^/:@]+@)?([^/:@]+):(?!\/\/)(.*)$/.exec(repository);
  const text = repository.startsWith('/')
    ? `file://${repository}`
    : scp
      ? `ssh://${scp[1]}/${(scp[2] ?? '').replace(/^\/+/, '')}`
      : repository;
  try {
    const url = new URL(text);
    if (/%(?:2f|5c|00)/i.test(url.pathname) || url.search || url.hash) return undefined;
    const pathname = decodeURIComponent(url.pathname).replace(/\/+$/, '');
    if (/(?:^|\/)\.\.?(?:\/|$)|%/.test(pathname)) return undefined; // or encoded twice
    const port = url.port === '' || (url.protocol === 'ssh:' && url.port === '22') ? '' : `:${url.port}`;
    return `${url.protocol}//${url.hostname.toLowerCase()}${port}${pathname}`;
  } catch {
    return undefined;
  }
}

/** distribution/reference: what a short name stands for, without tag and digest. */
export function fullImageName(image: string): string {
  const name = image.replace(/@.*$/, '').replace(/:[^:/]*$/, '');
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  if (slash < 0) return `docker.io/library/${name}`;
  if (!/[.:]/.test(first) && first !== 'localhost') return `docker.io/${name}`;
  return name.replace(/^index\.docker\.io\//, 'docker.io/');
}

const some = (values: readonly string[] | undefined): string =>
  [...new Set(values ?? [])].slice(0, 20).join(', ') || '(none)';
