// Names of branches: git takes every one, and no two models share a prefix.
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { branchOf, branchPrefixOf, isOurs } from '../../../src/activities/forge/branch.js';
import { releaseIdOf } from '../../../src/domain/ids.js';

const RELEASE = releaseIdOf('a');
const NASTY = [
  'a..b',
  '.a',
  'a.',
  'a.lock',
  'a b',
  'a~b^c:d?e*f[g\\h',
  '-x',
  '@{',
  '@',
  'ä',
  '',
  '/',
  'a//b',
  'x'.repeat(300),
];

/** git-check-ref-format(1) itself. */
function isTaken(branch: string): boolean {
  try {
    execFileSync('git', ['check-ref-format', '--branch', branch], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

describe('the branch of a pull request', () => {
  it('says what it deploys', () => {
    expect(branchOf('production', 'digits', RELEASE)).toBe(`throughline/production/digits/${RELEASE}`);
    expect(isOurs(branchOf('production', 'digits', RELEASE))).toBe(true);
    expect(isOurs('throughline-notes')).toBe(false);
  });

  it('is one that git takes, whatever the names are', () => {
    for (const name of NASTY) {
      const branch = branchOf(name, name, RELEASE);
      expect([branch, isTaken(branch)]).toEqual([branch, true]);
      expect(branch.split('/')).toHaveLength(4);
    }
  });

  it('never shares its prefix with that of another model', () => {
    const name = fc.oneof(fc.constantFrom(...NASTY), fc.string({ maxLength: 20 }));
    fc.assert(
      fc.property(name, name, (one, other) => {
        fc.pre(one !== other);
        expect(branchPrefixOf('e', one)).not.toBe(branchPrefixOf('e', other));
        expect(branchOf('e', other, RELEASE).startsWith(branchPrefixOf('e', one))).toBe(false);
      }),
    );
  });
});
