// Which pull requests a release closes, and which it leaves.
import { describe, expect, it } from 'vitest';
import { pullRequestText } from '../../../src/activities/forge/body.js';
import { branchOf } from '../../../src/activities/forge/branch.js';
import type { Forge, ListedPullRequest } from '../../../src/activities/forge/forge.js';
import { closeSuperseded } from '../../../src/activities/forge/supersede.js';
import { releaseIdOf } from '../../../src/domain/ids.js';
import { evidence } from '../../support/evidence.js';

const REPOSITORY = 'https://forge.example/ml/gitops';

function pull(key: string, number: number, requestedAt: string, values: Partial<ListedPullRequest> = {}) {
  const id = releaseIdOf(key);
  const { body } = pullRequestText({ ...evidence('digits'), release: { id }, requestedAt });
  const head = branchOf('production', 'digits', id);
  return { number, url: `${REPOSITORY}/pulls/${number}`, base: 'main', head, body, ...values };
}

/** What the release `own` (number 5, asked for at noon) closes of these, and what it finds newer. */
async function superseded(...others: ListedPullRequest[]) {
  const closed: string[] = [];
  const all = [pull('own', 5, '2026-01-01T12:00:00Z'), ...others];
  const forge = {
    list: async (_: string, prefix: string) => all.filter(({ head }) => head.startsWith(prefix)),
    close: async (_: string, number: number, comment: string) => {
      closed.push(`${number}: ${comment}`);
    },
  } as unknown as Forge;
  const own = {
    repository: REPOSITORY,
    base: 'main',
    environment: 'production',
    model: 'digits',
    release: releaseIdOf('own'),
    requestedAt: '2026-01-01T12:00:00Z',
    number: 5,
  };
  const { by } = await closeSuperseded(forge, own, new AbortController().signal);
  return { closed, by: by?.number };
}

describe('what a release supersedes (I4)', () => {
  it('is what was asked for before it, whenever it was opened', async () => {
    const found = await superseded(
      pull('older', 4, '2026-01-01T11:00:00Z'),
      pull('older, opened later', 6, '2026-01-01T11:30:00Z'),
    );
    const comment = `Superseded by ${releaseIdOf('own')}.`;
    expect(found).toEqual({ closed: [`4: ${comment}`, `6: ${comment}`], by: undefined });
  });

  it('is nothing that was asked for after it: that supersedes the release', async () => {
    expect(await superseded(pull('newer', 4, '2026-01-01T13:00:00Z'))).toEqual({ closed: [], by: 4 });
  });

  it('is nothing of another model, another environment or another branch', async () => {
    const id = releaseIdOf('other');
    expect(
      await superseded(
        pull('a', 1, '2026-01-01T11:00:00Z', { head: branchOf('production', 'digits-2', id) }),
        pull('b', 2, '2026-01-01T11:00:00Z', { head: branchOf('staging', 'digits', id) }),
        pull('c', 3, '2026-01-01T11:00:00Z', { base: 'release' }),
      ),
    ).toEqual({ closed: [], by: undefined });
  });

  it('is told by numbers where a body was edited, or says what is another’s', async () => {
    const edited = { body: 'Somebody has written something else.' };
    expect(await superseded(pull('edited', 4, '', edited))).toMatchObject({
      closed: [expect.stringMatching(/^4/)],
    });
    expect(await superseded(pull('edited', 6, '', edited))).toEqual({ closed: [], by: 6 });
    const borrowed = pull('older', 6, '2026-01-01T11:00:00Z', {
      head: branchOf('production', 'digits', releaseIdOf('x')),
    });
    expect(await superseded(borrowed)).toEqual({ closed: [], by: 6 });
  });
});
