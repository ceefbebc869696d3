// The builders' command lines: pure functions, and nothing of a plan can become more than the word it is.
import { describe, expect, it } from 'vitest';
import type { ImageBuild } from '../../src/activities/build/builder.js';
import {
  buildkitArguments,
  FRONTENDS,
  type FrontendOptions,
  unavailableBaseImage,
} from '../../src/activities/build/frontends.js';
import type { CommitSha, Digest } from '../../src/domain/ids.js';
import { releaseIdOf } from '../../src/domain/ids.js';

const build: ImageBuild = {
  release: releaseIdOf('x'),
  repository: 'https://git.example/x',
  commit: 'a'.repeat(40) as CommitSha,
  context: 'inference',
  dockerfile: 'Dockerfile',
  image: 'registry.example/ml/tiny',
  tag: 'rel-x',
  arguments: { MODEL_ID: 'm; rm -rf /' },
  annotations: { 'org.opencontainers.image.source': 'https://git.example/a,b"c' },
  model: { uri: 'file:///m', digest: `sha256:${'0'.repeat(64)}` as Digest },
  createdAt: 1700000000,
  trace: { traceparent: 'x' },
};
const paths = { context: '/src/inference', model: '/models/m', attempt: '/out' };
const options: FrontendOptions = {
  output: 'layout',
  contexts: { 'golang:1.26': 'container-image://localhost/golang:1.26' },
  storage: '/storage',
  insecureRegistry: false,
};

describe('the builders’ command lines', () => {
  it.each(Object.values(FRONTENDS))(
    '$name: the model and other base images are named contexts, values are single words',
    (frontend) => {
      const [command = [], ...more] = frontend.commands(build, paths, options);
      expect(more).toEqual([]);
      expect(command.some((word) => /model=\/models\/m$/.test(word))).toBe(true);
      expect(
        command.some((word) =>
          /golang:1\.26=(?:container|docker)-image:\/\/localhost\/golang:1\.26$/.test(word),
        ),
      ).toBe(true);
      expect(command.filter((word) => word.includes('rm -rf'))).toEqual([
        expect.stringMatching(/MODEL_ID=m; rm -rf \/$/),
      ]);
      expect(command.some((word) => word.includes('1700000000'))).toBe(true);
    },
  );

  it('buildctl: a comma or a quote in an annotation does not begin another option', () => {
    const [command = []] = FRONTENDS.buildctl.commands(build, paths, options);
    expect(command.at(-1)).toContain(
      '"annotation.org.opencontainers.image.source=https://git.example/a,b""c"',
    );
  });

  it('buildah: an image for a registry is built, then pushed, and its digest written down', () => {
    const [bud = [], push = []] = FRONTENDS.buildah.commands(build, paths, {
      ...options,
      output: 'registry',
      insecureRegistry: true,
    });
    expect(bud).toContain('registry.example/ml/tiny:rel-x');
    expect(push).toEqual(
      expect.arrayContaining([
        'push',
        '--tls-verify=false',
        '--digestfile',
        '/out/digest',
        'docker://registry.example/ml/tiny:rel-x',
      ]),
    );
  });

  it('a base image that cannot be had is told from a step that fails', () => {
    for (const log of [
      'ERROR: failed to solve: golang:1.26: failed to resolve source metadata for docker.io/library/golang:1.26: no such host',
      'Error: creating build container: initializing source docker://golang:1.26: pinging container registry',
    ]) {
      expect(unavailableBaseImage(log)).toContain('golang:1.26');
    }
    expect(unavailableBaseImage('Error: building at STEP "RUN go build": exit status 1')).toBeUndefined();
  });
});

describe('a build by a buildkitd that fetches everything itself', () => {
  const remote = { context: { git: 'https://git.example/x#abc:inference' }, attempt: '/out' };
  const registry = { ...options, output: 'registry' as const };
  const model = `docker-image://registry.example/m@sha256:${'0'.repeat(64)}`;

  it('is given nothing of this machine', () => {
    const words = buildkitArguments(build, { ...remote, model }, registry);
    expect(words).not.toContain('--local');
    expect(words).toContain('context=https://git.example/x#abc:inference');
    expect(words).toContain(`context:model=${model}`);
    expect(words.at(-1)).toContain('push=true');
  });

  it('keeps its layers in the registry, where it is told to', () => {
    const words = buildkitArguments(
      build,
      { ...remote, model, cache: 'registry.example/m:buildcache' },
      registry,
    );
    expect(
      words.filter((word) =>
        /^--(?:im|ex)port-cache=type=registry,ref=registry.example\/m:buildcache/.test(word),
      ),
    ).toHaveLength(2);
    expect(buildkitArguments(build, { ...remote, model }, registry).join(' ')).not.toContain('cache');
  });

  it('leaves the layers of a trainer as they are, and makes those of a model’s image anew the same', () => {
    const { model: _, ...trainer } = build;
    expect(buildkitArguments(build, { ...remote, model }, registry).at(-1)).toContain(
      'rewrite-timestamp=true',
    );
    expect(buildkitArguments(trainer, remote, registry).at(-1)).not.toContain('rewrite-timestamp');
    expect(buildkitArguments(trainer, remote, registry).join(' ')).not.toContain('context:model');
  });
});
