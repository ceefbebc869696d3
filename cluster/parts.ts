// The parts that are built from upstream Go modules, each once per version, into a cache outside the checkout. A part
// is built beside its place and moved there when it is whole: an interrupted build leaves nothing that is taken for one.
import { createHash } from 'node:crypto';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { join } from 'node:path';
import { PARTS, ROOT } from './layout.js';
import { answer, ClusterError, run, say, step } from './shell.js';

interface Part {
  readonly name: string;
  /** A Go module below cluster/parts, or elsewhere in the project. */
  readonly module: string;
  readonly version: string;
  /** Main package → program. */
  readonly programs: Readonly<Record<string, string>>;
  /** Other names of the one program, which tells by its name what it is. */
  readonly names?: readonly string[];
  readonly tags?: string;
  readonly ldflags?: string;
  /** It holds C, and so is no program for images made from scratch. */
  readonly cgo?: boolean;
  /** The Go toolchain that it needs where that is newer than what most machines have; fetched as a Go module. */
  readonly toolchain?: string;
  /** Files of the upstream module that are needed besides the program: path in the module → name. */
  readonly files?: { readonly module: string; readonly paths: Readonly<Record<string, string>> };
}

const kubernetesVersion = 'k8s.io/component-base/version';

export const KUBERNETES: Part = {
  name: 'kubernetes',
  module: 'cluster/parts/kubernetes',
  version: 'v1.34.4',
  programs: { '.': 'kubernetes' },
  names: ['kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'kube-proxy', 'kubelet', 'kubectl'],
  tags: 'providerless,dockerless,selinux_noop',
  ldflags: `-X ${kubernetesVersion}.gitVersion=v1.34.4 -X ${kubernetesVersion}.gitMajor=1 -X ${kubernetesVersion}.gitMinor=34`,
};

export const ARGOCD: Part = {
  name: 'argocd',
  module: 'cluster/parts/argocd',
  version: 'v3.6.1',
  programs: { '.': 'argocd' },
  names: ['argocd-application-controller', 'argocd-repo-server', 'argocd-git-ask-pass'],
  ldflags: '-X github.com/argoproj/argo-cd/v3/common.version=3.6.1',
  toolchain: 'go1.27.0',
  files: {
    module: 'github.com/argoproj/argo-cd/v3',
    paths: {
      'manifests/crds/application-crd.yaml': 'crds/application.yaml',
      'manifests/crds/appproject-crd.yaml': 'crds/appproject.yaml',
      'hack/git-verify-wrapper.sh': 'git-verify-wrapper.sh',
    },
  },
};

export const BUILDKIT: Part = {
  name: 'buildkit',
  module: 'cluster/parts/buildkit',
  version: 'v0.34.2',
  programs: {
    'github.com/moby/buildkit/cmd/buildkitd': 'buildkitd',
    'github.com/moby/buildkit/cmd/buildctl': 'buildctl',
  },
  ldflags: '-X github.com/moby/buildkit/version.Version=v0.34.2',
};

export const JAEGER: Part = {
  name: 'jaeger',
  module: 'cluster/parts/jaeger',
  version: 'v1.76.0',
  programs: { 'github.com/jaegertracing/jaeger/cmd/all-in-one': 'jaeger' },
};

/** Our own small programs, and the program for registries, as every cluster needs them. */
export const TOOLS: Part = {
  name: 'tools',
  module: 'cluster/parts/tools',
  version: 'own',
  programs: { '.': 'tools' },
};
export const OCI: Part = { name: 'oci', module: 'oci', version: 'own', programs: { '.': 'throughline-oci' } };

export const BUILD_CLIENT: Part = {
  name: 'build-client',
  module: 'buildkit',
  version: 'own',
  programs: { '.': 'throughline-buildkit' },
};

/** What shell scripts edit YAML with: for the benchmark against such scripts. */
export const YQ: Part = {
  name: 'yq',
  module: 'cluster/parts/yq',
  version: 'v4.48.1',
  programs: { 'github.com/mikefarah/yq/v4': 'yq' },
};

/** Upstream's verifier of signatures: what ours has to agree with. */
export const COSIGN: Part = {
  name: 'cosign',
  module: 'cluster/parts/cosign',
  version: 'v3.1.2',
  programs: { 'github.com/sigstore/cosign/v3/cmd/cosign': 'cosign' },
};

/** Fakes nodes, for tests with many pods; built only where it is asked for. */
export const KWOK: Part = {
  name: 'kwok',
  module: 'cluster/parts/kwok',
  version: 'v0.7.0',
  programs: { 'sigs.k8s.io/kwok/cmd/kwok': 'kwok' },
};

/** A forge with pull requests and protected branches. Its templates and texts are files, which it reads where it runs. */
export const GITEA: Part = {
  name: 'gitea',
  module: 'cluster/parts/gitea',
  version: 'v1.25.4',
  programs: { 'code.gitea.io/gitea': 'gitea' },
  tags: 'sqlite,sqlite_unlock_notify',
  ldflags: '-X main.Version=1.25.4',
  cgo: true, // its SQLite
  files: {
    module: 'code.gitea.io/gitea',
    paths: { templates: 'static/templates', options: 'static/options', public: 'static/public' },
  },
};

/** The directory of a part; it is built first where it is not there. */
export async function part(wanted: Part): Promise<string> {
  const source = join(ROOT, wanted.module);
  const target = join(PARTS, `${wanted.name}-${keyOf(wanted, source)}`);
  if (existsSync(target)) return target;
  await needGo();
  const staging = `${target}.${process.pid}`;
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(staging, { recursive: true });
  const env = {
    ...process.env,
    CGO_ENABLED: wanted.cgo ? '1' : '0', // without it static: the same program runs in images made from scratch
    GOFLAGS: '-mod=readonly -buildvcs=false -trimpath',
    GOWORK: 'off',
    ...(wanted.toolchain ? { GOTOOLCHAIN: wanted.toolchain } : {}),
  };
  try {
    const label = wanted.version === 'own' ? wanted.name : `${wanted.name} ${wanted.version}`;
    await step(`building ${label}`, async () => {
      await run('go', ['mod', 'download'], { cwd: source, env });
      for (const [main, program] of Object.entries(wanted.programs)) {
        const flags = [
          ...(wanted.tags ? ['-tags', wanted.tags] : []),
          '-ldflags',
          `-s -w ${wanted.ldflags ?? ''}`,
        ];
        await run('go', ['build', ...flags, '-o', join(staging, program), main], { cwd: source, env });
        for (const name of wanted.names ?? []) symlinkSync(program, join(staging, name));
      }
      if (wanted.files) {
        const upstream = (
          await run('go', ['list', '-m', '-f', '{{.Dir}}', wanted.files.module], { cwd: source, env })
        ).trim();
        for (const [from, to] of Object.entries(wanted.files.paths)) {
          cpSync(join(upstream, from), join(staging, to), { recursive: true });
          if (to.endsWith('.sh')) chmodSync(join(staging, to), 0o755); // a Go module keeps no such bits
        }
      }
    });
    renameSync(staging, target);
  } catch (error) {
    if (!existsSync(target)) throw error; // another process was faster: as good
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
  return target;
}

function keyOf(wanted: Part, source: string): string {
  const hash = createHash('sha256').update(JSON.stringify([wanted, process.arch]));
  for (const file of readdirSync(source).sort()) {
    if (/(?<!_test)\.go$|^go\.(mod|sum)$/.test(file))
      hash.update(file).update(readFileSync(join(source, file)));
  }
  return `${wanted.version}-${hash.digest('hex').slice(0, 12)}`;
}

async function needGo(): Promise<void> {
  const [, major, minor] = /go(\d+)\.(\d+)/.exec((await answer('go', 'version')) ?? '') ?? [];
  if (Number(major) * 1000 + Number(minor) >= 1026) return;
  throw new ClusterError(
    `Go 1.26 or later is needed to build the cluster's parts${major ? `, and this one is ${major}.${minor}` : ''}.\n  Install it (go.dev/doc/install), then run this again.`,
  );
}

/** Says beforehand how long it will take, where something is missing. */
export function announce(parts: readonly Part[]): void {
  const missing = parts.filter(
    (one) => !existsSync(join(PARTS, `${one.name}-${keyOf(one, join(ROOT, one.module))}`)),
  );
  if (missing.some(({ name }) => name === 'kubernetes' || name === 'argocd')) {
    say(
      `  to be built, once: ${missing.map(({ name, version }) => (version === 'own' ? name : `${name} ${version}`)).join(', ')} (about 15 minutes on 2 cores)`,
    );
  }
}
