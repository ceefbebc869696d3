// The GitOps writer against real git: one commit a release whatever happens, and nothing of others lost.
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GitOpsChange, Written } from '../../src/activities/gitops/change.js';
import { GitGitOpsRepository } from '../../src/activities/gitops/writer.js';
import { ThroughlineError } from '../../src/domain/errors.js';
import { git, MANIFEST, remote, temporaryDirectory } from '../support/world.js';

let directory: string;
let bare: string;
let url: string;

beforeEach(() => {
  directory = temporaryDirectory('writer');
  bare = join(directory, 'gitops.git');
  url = remote(bare, { 'k8s/deployment.yaml': MANIFEST, 'README.md': 'x\n', 'bin/tool': 'binary\0data' });
});
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

const options = { signal: new AbortController().signal, report: () => {} };
const adapter = (cache = 'cache') =>
  new GitGitOpsRepository(join(directory, cache), { name: 'T', email: 't@localhost' });
const committed = (written: Written | undefined) => {
  if (!written) throw new Error('nothing came back');
  if ('refused' in written) throw written.refused;
  return written.commit;
};
/** Writes one change. */
const writer = (cache = 'cache') => ({
  write: async (one: GitOpsChange, _: typeof options) =>
    committed((await adapter(cache).write(one, [one], options))[0]),
});

function change(release: string, more: Partial<GitOpsChange['message']> = {}): GitOpsChange {
  return {
    repository: url,
    branch: 'main',
    manifest: 'k8s/deployment.yaml',
    committedAt: '2026-01-01T00:00:00.000Z',
    message: {
      release,
      model: 'tiny',
      environment: 'production',
      modelId: 'tiny-1',
      imageDigest: 'sha256:0',
      sourceCommit: 'c',
      datasetVersion: 'v1',
      traceparent: '00-1-2-01',
      requestedAt: '2026-01-01T00:00:00.000Z',
      ...more,
    },
    container: 'inference',
    kind: 'deploy',
    desired: {
      image: `registry.example/ml/tiny:${release}@sha256:${'0'.repeat(64)}`,
      env: { MODEL_ID: release },
      annotations: {},
    },
  };
}

const releases = () =>
  git(bare, 'log', '--format=%(trailers:key=Release-Id,valueonly,separator=)', 'main')
    .split('\n')
    .filter(Boolean);

async function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'written',
    (error) => (error instanceof ThroughlineError ? error.code : String(error)),
  );
}

describe('the GitOps writer', () => {
  it('I3: makes one commit a release, also by many attempts at once from many caches', async () => {
    const commits = await Promise.all(
      Array.from({ length: 8 }, (_, index) => writer(`cache-${index % 4}`).write(change('rel-a'), options)),
    );
    expect(new Set(commits).size).toBe(1);
    expect(releases()).toEqual(['rel-a']);
    // And again, by somebody who knows nothing of it, after others have pushed.
    await writer().write(change('rel-b', { requestedAt: '2026-01-02T00:00:00.000Z' }), options);
    expect(await writer('new').write(change('rel-a'), options)).toBe(commits[0]);
    expect(releases()).toEqual(['rel-b', 'rel-a']);
  });

  it('I3: commits once for each environment', async () => {
    await writer().write(change('rel-a'), options);
    await writer().write(change('rel-a', { environment: 'staging' }), options);
    expect(releases()).toEqual(['rel-a', 'rel-a']);
  });

  it('I4: loses nothing of what others push meanwhile', async () => {
    const others = join(directory, 'others');
    git(directory, 'clone', '--quiet', bare, others);
    const rivals = async () => {
      for (let index = 0; index < 15; index += 1) {
        writeFileSync(join(others, `file-${index}`), 'theirs\n');
        git(others, 'add', '--all');
        git(others, 'commit', '--quiet', '--message', `Theirs ${index}`);
        for (;;) {
          try {
            git(others, 'push', '--quiet', 'origin', 'HEAD:main');
            break;
          } catch {
            git(others, 'pull', '--quiet', '--rebase', 'origin', 'main');
          }
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    };
    const ours = Array.from({ length: 6 }, (_, index) =>
      writer(`cache-${index}`).write(change(`rel-${index}`, { model: `m${index}` }), options),
    );
    await Promise.all([rivals(), ...ours]);
    const files = git(bare, 'ls-tree', '--name-only', 'main').split('\n');
    for (let index = 0; index < 15; index += 1) expect(files).toContain(`file-${index}`);
    expect(releases().sort()).toEqual(Array.from({ length: 6 }, (_, index) => `rel-${index}`));
  });

  it('I4: an older release gives way to a newer one of its model, and to no other', async () => {
    await writer().write(change('rel-new', { requestedAt: '2026-01-02T00:00:00.000Z' }), options);
    expect(await codeOf(writer().write(change('rel-old'), options))).toBe('TL_RELEASE_SUPERSEDED');
    expect(await codeOf(writer().write(change('rel-other', { model: 'other' }), options))).toBe('written');
    expect(releases()).toEqual(['rel-other', 'rel-new']);
  });

  it('changes one file, and keeps modes and binary files', async () => {
    git(bare, 'config', 'core.fileMode', 'true');
    const commit = await writer().write(change('rel-a'), options);
    expect(git(bare, 'show', '--format=', '--name-only', commit).trim()).toBe('k8s/deployment.yaml');
    expect(git(bare, 'log', '-1', '--format=%an <%ae> %at', commit).trim()).toBe(
      'T <t@localhost> 1767225600',
    );
  });

  it('tells a refusal of the server from a race', async () => {
    writeFileSync(
      join(bare, 'hooks', 'pre-receive'),
      '#!/bin/sh\necho "the branch is frozen" >&2\nexit 1\n',
      { mode: 0o755 },
    );
    const error = await writer()
      .write(change('rel-a'), options)
      .catch((caught) => caught as ThroughlineError);
    expect(error).toMatchObject({
      problem: { code: 'TL_PUSH_REJECTED', found: expect.stringContaining('frozen') },
    });
    expect(releases()).toEqual([]);
  });

  it('refuses what is not there, without writing anything', async () => {
    expect(await codeOf(writer().write({ ...change('rel-a'), manifest: 'no.yaml' }, options))).toBe(
      'TL_FILE_NOT_FOUND',
    );
    expect(await codeOf(writer().write({ ...change('rel-a'), branch: 'no' }, options))).toBe(
      'TL_REF_NOT_FOUND',
    );
    expect(
      await codeOf(writer().write({ ...change('rel-a'), repository: `file://${directory}/no` }, options)),
    ).toBe('TL_REPOSITORY_NOT_FOUND');
    expect(releases()).toEqual([]);
  });
});
