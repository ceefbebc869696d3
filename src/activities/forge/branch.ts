// Names of the branches that pull requests come from: each is found by what it deploys, and is a name that git takes.
import { type ReleaseId, sha256Hex } from '../../domain/ids.js';

const OURS = 'throughline/';

/** Of one release into one environment. */
export function branchOf(environment: string, model: string, release: ReleaseId): string {
  return `${branchPrefixOf(environment, model)}${release}`;
}

/** What the branches of one model's releases into one environment start with: of those an older one is superseded. */
export function branchPrefixOf(environment: string, model: string): string {
  return `${OURS}${segment(environment)}/${segment(model)}/`;
}

/** Whether it was made for a release: nobody else's branch is ever deleted. */
export function isOurs(branch: string): boolean {
  return branch.startsWith(OURS);
}

/**
 * git-check-ref-format(1), and no more than is safe in URLs. What had to be changed gets a hash of what it was: two
 * names never share a prefix, as nobody's pull request is closed for another model's.
 */
function segment(name: string): string {
  const safe = name
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/\.{2,}/g, '.')
    .replace(/^[.-]+|[.-]+$/g, '')
    .replace(/\.lock$/i, '-lock')
    .slice(0, 60)
    .replace(/[.-]+$/, '');
  return safe === name && name !== '' ? name : [safe, sha256Hex(name).slice(0, 8)].filter(Boolean).join('-');
}
