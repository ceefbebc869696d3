// What was done to a deployment by hand, from the commits of its manifest.
import { describe, expect, it } from 'vitest';
import { deployedIn } from '../../src/activities/gitops/manifest.js';
import { type Deployed, deploymentsByHand, type ManifestCommit } from '../../src/lineage/by-hand.js';

const target = { environment: 'production', model: 'tiny', repository: 'r', manifest: 'm', branch: 'main' };
const NOTHING: Deployed = { release: undefined, imageDigest: undefined };

/** Commits in their order: `A` is release A's own, `=A` a person's who left A, `?d` one with an image d of nobody's. */
async function rows(...commits: string[]) {
  const made = commits.map((word, index): ManifestCommit => {
    const minute = String(index).padStart(2, '0');
    const own = /^\w$/.test(word);
    return {
      commit: `${index}`,
      committedAt: `2026-03-01T10:${minute}:00Z`,
      release: own ? word : undefined,
    };
  });
  const found = await deploymentsByHand(target, made, NOTHING, async (commit) => {
    const word = commits[Number(commit)] ?? '';
    return word.startsWith('=')
      ? { release: word.slice(1), imageDigest: `digest of ${word.slice(1)}` }
      : { release: undefined, imageDigest: word.slice(1) || undefined };
  });
  return found.map(
    ({ commit, cause, release, imageDigest }) => `${commit} ${cause} ${release ?? imageDigest}`,
  );
}

describe('what was done by hand', () => {
  it('is nothing where only releases have written', async () =>
    expect(await rows('A', 'B', 'C')).toEqual([]));
  it('is nothing where another line was changed', async () =>
    expect(await rows('A', '=A', 'B', '=B')).toEqual([]));
  it('is a revert', async () => expect(await rows('A', 'B', '=A')).toEqual(['2 rollback A']));
  it('is a revert of a revert', async () =>
    expect(await rows('A', 'B', '=A', '=B')).toEqual(['2 rollback A', '3 rollback B']));
  it('is said once', async () => expect(await rows('A', 'B', '=A', '=A', '=A')).toEqual(['2 rollback A']));
  it('ends with the next release', async () =>
    expect(await rows('A', 'B', '=A', 'C', '=A')).toEqual(['2 rollback A', '4 rollback A']));
  it('is an image that nobody has released', async () =>
    expect(await rows('A', '?x', '?x', '?y', '=A')).toEqual(['1 other x', '3 other y', '4 rollback A']));
  it('is a manifest that was removed', async () => expect(await rows('A', '?')).toEqual(['1 other null']));
});

describe('when it took effect', () => {
  const at = (second: string) => new Date(`2026-03-01T10:00:${second}Z`);
  const times = async (served: Date | undefined, ...dates: string[]) => {
    const commits = dates.map(
      (date, index): ManifestCommit => ({
        commit: `${index}`,
        committedAt: at(date).toISOString(),
        release: undefined,
      }),
    );
    const own = { commit: 'own', committedAt: at('00').toISOString(), release: 'B', servedFrom: served };
    const rows = await deploymentsByHand(target, [own, ...commits], NOTHING, async (commit) => ({
      release: `R${commit}`,
      imageDigest: undefined,
    }));
    return rows.map(({ servedFrom }) => servedFrom?.toISOString().slice(17, -1));
  };
  it('is when it was committed', async () => expect(await times(at('05.107'), '07')).toEqual(['07.000']));
  it('is after what it replaces, though it was committed in the same second', async () =>
    expect(await times(at('05.107'), '05', '05', '06')).toEqual(['05.108', '05.109', '06.000']));
  it('is after what it replaces, though that was rolled out later', async () =>
    expect(await times(at('30.000'), '10')).toEqual(['30.001']));
  it('is when it was committed, where nothing is known of what it replaces', async () =>
    expect(await times(undefined, '10')).toEqual(['10.000']));
});

describe('what a manifest deploys', () => {
  const digest = `sha256:${'a'.repeat(64)}`;
  const pod = (name: string, release: string) => `kind: Deployment
spec:
  template:
    metadata: { annotations: { resource.opentelemetry.io/cicd.pipeline.run.id: ${release} } }
    spec: { containers: [{ name: ${name}, image: 'registry.example/${name}:x@${digest}' }] }
`;
  it('is read of every document', () =>
    expect(deployedIn(`${pod('a', 'rel-a')}---\nkind: Service\n---\n${pod('b', 'rel-b')}`)).toMatchObject([
      { release: 'rel-a', digests: [digest] },
      { release: 'rel-b', digests: [digest] },
    ]));
  it.each([
    '',
    '{',
    'just text',
    '- a\n- b',
    'spec: { template: { spec: { containers: [null] } } }',
    '&a [*a]',
  ])('may be anything: %j', (text) => expect(() => deployedIn(text)).not.toThrow());
});
