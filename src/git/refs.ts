// The refs of a remote, as git-ls-remote(1) lists them. Pure.
import { ThroughlineError } from '../domain/errors.js';
import { redact } from '../domain/urls.js';

/** Objects by the names of refs. */
export function parseRefs(listing: string): Map<string, string> {
  return new Map(
    listing
      .split('\n')
      .filter((line) => line.includes('\t'))
      .map((line) => {
        const [sha = '', name = ''] = line.split('\t');
        return [name, sha];
      }),
  );
}

/** Says which branches there are, for whoever has mistyped one. */
export function refNotFound(
  repository: string,
  what: string,
  expected: string,
  refs: Map<string, string>,
): ThroughlineError {
  return new ThroughlineError('TL_REF_NOT_FOUND', `${redact(repository)} has no ${what}`, {
    expected,
    found: refs.size === 0 ? 'an empty repository' : `branches: ${branchesOf(refs)}`,
  });
}

function branchesOf(refs: Map<string, string>): string {
  const names = [...refs.keys()]
    .filter((name) => name.startsWith('refs/heads/'))
    .map((name) => name.slice(11));
  return names.length > 8 ? `${names.slice(0, 8).join(', ')}, …` : names.join(', ');
}
