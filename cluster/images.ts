// Images that no registry is asked for: made of programs, directories and a Debian root file system, pushed to the
// cluster's own registry. The same content makes the same image, so that repeating it costs a look.
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Built } from './components.js';
import type { Programs } from './debian.js';
import { type Layout, PARTS } from './layout.js';
import type { Inside } from './machine.js';
import { answer, run, step } from './shell.js';

export interface ImageSpec {
  readonly env?: readonly string[];
  readonly entrypoint?: readonly string[];
  readonly workdir?: string;
  readonly layers: readonly {
    /** An archive as it is. */
    readonly tar?: string;
    /** Path in the image → file or directory of this machine. */
    readonly files?: Readonly<Record<string, string>>;
    /** Path in the image → mode, octal. */
    readonly directories?: Readonly<Record<string, string>>;
  }[];
}

export class Images {
  constructor(
    private readonly layout: Layout,
    private readonly built: Built,
    private readonly programs: Programs,
    private readonly inside: Inside,
  ) {}

  /** Puts an image into containerd's own store, for what is needed before there is a registry. */
  async load(reference: string, spec: ImageSpec): Promise<void> {
    const ctr = [
      this.programs.path('ctr'),
      '--address',
      '/run/containerd/containerd.sock',
      '--namespace',
      'k8s.io',
      'images',
    ] as const;
    const [program, ...parameters] = ctr;
    if ((await this.inside.run(program, [...parameters, 'list', '--quiet'])).split('\n').includes(reference))
      return;
    const archive = this.layout.path('image.tar');
    await this.make({ reference, archive, ...spec });
    await this.inside.run(program, [...parameters, 'import', archive]);
    rmSync(archive);
  }

  /** Pushes an image to the registry, unless what it is made of is there already. */
  async push(reference: string, spec: ImageSpec): Promise<void> {
    const key = createHash('sha256')
      .update(JSON.stringify([reference, spec, this.sources(spec)]))
      .digest('hex');
    const done = this.layout.path('registry', 'data', `pushed-${key.slice(0, 20)}`); // gone when the registry's data is
    if (existsSync(done)) return;
    await this.make({ reference, ...spec });
    mkdirSync(done);
  }

  private async make(spec: ImageSpec & { reference: string; archive?: string }): Promise<void> {
    await this.inside.run('env', [
      `DOCKER_CONFIG=${this.layout.dockerConfig}`,
      `SSL_CERT_FILE=${this.layout.certificate('ca')}`,
      join(this.built.tools, 'tools'),
      'image',
      JSON.stringify(spec),
    ]);
  }

  private sources(spec: ImageSpec): unknown {
    const paths = spec.layers.flatMap(({ tar, files }) => [
      ...(tar ? [tar] : []),
      ...Object.values(files ?? {}),
    ]);
    return paths.map((path) => [path, statSync(path).mtimeMs, statSync(path).size]);
  }
}

const PACKAGES = ['python3', 'python3-pip', 'python-is-python3', 'git', 'runc', 'ca-certificates'];

/** A small Debian as an archive: what buildkitd and Python programs stand on. Made once. */
export async function debianRoot(programs: Programs): Promise<string> {
  const suite =
    (await answer('sh', '-c', '. /etc/os-release && echo "$VERSION_CODENAME"'))?.trim() || 'stable';
  const key = createHash('sha256')
    .update(JSON.stringify([PACKAGES, suite, process.arch]))
    .digest('hex')
    .slice(0, 12);
  const target = join(PARTS, `debian-root-${key}.tar`);
  if (existsSync(target)) return target;
  mkdirSync(PARTS, { recursive: true });
  const staging = join(PARTS, `debian-root-${key}.${process.pid}.tar`);
  try {
    await step(`making a Debian root file system with ${PACKAGES.join(', ')}`, () =>
      run(
        'perl',
        [
          programs.path('mmdebstrap'),
          '--mode=root',
          '--variant=minbase',
          `--include=${PACKAGES.join(',')}`,
          suite,
          staging,
        ],
        {
          env: programs.env,
        },
      ),
    );
    renameSync(staging, target);
  } finally {
    rmSync(staging, { force: true });
  }
  return target;
}
