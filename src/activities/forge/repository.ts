// Which repository of a forge a git URL names.
import { redact } from '../../domain/urls.js';
import { checkRepositoryUrl } from '../../git/index.js';
import { refused } from './failures.js';

export interface RepositoryAddress {
  /** As URLs have it: with a port where one is named. */
  readonly host: string;
  /** Without a user, a leading slash and `.git`. */
  readonly path: string;
  readonly protocol: 'http' | 'https' | 'ssh';
}

/** Undefined where no forge can be behind it: a directory of this machine. */
export function addressOf(repository: string): RepositoryAddress | undefined {
  checkRepositoryUrl(repository);
  const scp = /^[A-Za-z0-9_.-]+@([A-Za-z0-9.-]+):(.+)$/.exec(repository);
  if (scp) return address(scp[1] ?? '', scp[2] ?? '', 'ssh');
  const [, protocol] = /^(https?|ssh):\/\//.exec(repository) ?? [];
  if (!protocol || !URL.canParse(repository)) return undefined;
  const { host, pathname } = new URL(repository);
  return address(host, pathname, protocol as RepositoryAddress['protocol']);
}

function address(
  host: string,
  text: string,
  protocol: RepositoryAddress['protocol'],
): RepositoryAddress | undefined {
  const path = text.replace(/^\/+|\/+$/g, '').replace(/\.git$/, '');
  // A path that climbs would be one of the API, not of a repository.
  const plain = path.split('/').every((part) => /^[\w.~+-]+$/.test(part) && part !== '.' && part !== '..');
  return plain ? { host: host.toLowerCase(), path, protocol } : undefined;
}

/** Owner and name, where a repository has those two: GitHub, Gitea, Forgejo. */
export function ownerAndName(repository: string): { readonly owner: string; readonly repo: string } {
  const [repo, owner] = (addressOf(repository)?.path ?? '').split('/').reverse();
  if (owner && repo) return { owner, repo };
  throw refused('The repository has no owner and name', {
    expected: 'a URL that ends in OWNER/NAME',
    found: redact(repository),
  });
}
