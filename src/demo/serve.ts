// Runs a committed Deployment on this machine, as its pods would run: the image by its digest, the environment and the
// annotations of the pod template, the Downward API. What a kubelet does beyond that (probes, replicas) is left out.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdir, open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';
import { ThroughlineError } from '../domain/errors.js';
import { readJson, readText } from '../processes/index.js';
import { RESOURCE_ANNOTATION_PREFIX } from '../telemetry/attributes.js';

const run = promisify(execFile);

interface Container {
  readonly name: string;
  readonly image: string;
  readonly env?: readonly {
    name: string;
    value?: string;
    valueFrom?: { fieldRef?: { fieldPath: string } };
  }[];
}

interface PodTemplate {
  readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> };
  readonly spec: { readonly containers: readonly Container[] };
}

export interface ServedDeployment {
  readonly pid: number;
  readonly url: string;
  readonly digest: string;
  stop(): Promise<void>;
}

export interface ServeOptions {
  /** Text of the committed manifest. */
  readonly manifest: string;
  readonly container: string;
  /** Where image layouts lie, by name and tag. */
  readonly images: string;
  /** Working directory: the unpacked image and the log. */
  readonly directory: string;
  readonly port: number;
}

export async function serveDeployment(options: ServeOptions): Promise<ServedDeployment> {
  const { container, annotations } = findContainer(options.manifest, options.container);
  const [, name = '', tag = '', digest = ''] =
    /^(.+):([^:@/]+)@(sha256:[0-9a-f]{64})$/.exec(container.image) ?? [];
  if (!digest) {
    throw new ThroughlineError('TL_MANIFEST_INVALID', 'The committed image is not pinned', {
      found: container.image,
    });
  }
  const root = join(options.directory, 'rootfs');
  const config = await unpackImage(join(options.images, name, tag), digest, root);
  const env: Record<string, string> = {
    ...Object.fromEntries(
      (config.Env ?? []).map((entry) => [
        entry.slice(0, entry.indexOf('=')),
        entry.slice(entry.indexOf('=') + 1),
      ]),
    ),
    ...podEnvironment(container, annotations),
    // In a cluster a pod has an address of its own; here the port is what is free.
    LISTEN_ADDR: `127.0.0.1:${options.port}`,
  };
  const [entrypoint = '', ...parameters] = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  const isRoot = process.getuid?.() === 0;
  const log = await open(join(options.directory, 'service.log'), 'a');
  const service = isRoot
    ? spawn('chroot', [`--userspec=${config.User || '65532:65532'}`, root, entrypoint, ...parameters], {
        env,
        stdio: ['ignore', log.fd, log.fd],
        detached: true,
      })
    : // Without the right to change its root, the program finds the model by its path.
      spawn(join(root, entrypoint), parameters, {
        env: { ...env, MODEL_PATH: join(root, 'model') },
        stdio: ['ignore', log.fd, log.fd],
        detached: true,
      });
  await log.close();
  const exited = new Promise<void>((resolve) => service.once('exit', () => resolve()));
  const url = `http://127.0.0.1:${options.port}`;
  await untilReady(url, service, join(options.directory, 'service.log'));
  return {
    pid: service.pid ?? 0,
    url,
    digest,
    async stop() {
      service.kill('SIGTERM');
      const timer = setTimeout(() => service.kill('SIGKILL'), 10_000);
      await exited;
      clearTimeout(timer);
    },
  };
}

function findContainer(
  manifest: string,
  name: string,
): { container: Container; annotations: Readonly<Record<string, string>> } {
  const documents = parseAllDocuments(manifest, { merge: true });
  for (const document of 'empty' in documents ? [] : documents) {
    const template = (document.toJS() as { spec?: { template?: PodTemplate } } | null)?.spec?.template;
    const container = template?.spec?.containers?.find((one) => one.name === name);
    if (container) return { container, annotations: template?.metadata?.annotations ?? {} };
  }
  throw new ThroughlineError(
    'TL_MANIFEST_CONTAINER_MISSING',
    `The committed manifest has no container ${name}`,
  );
}

/** The container's variables, the Downward API's among them, and what the OpenTelemetry operator makes of annotations. */
function podEnvironment(
  container: Container,
  annotations: Readonly<Record<string, string>>,
): Record<string, string> {
  const own = (container.env ?? []).map(({ name, value, valueFrom }) => {
    const key = /^metadata\.annotations\['(.+)'\]$/.exec(valueFrom?.fieldRef?.fieldPath ?? '')?.[1];
    return [name, key === undefined ? (value ?? '') : (annotations[key] ?? '')];
  });
  const resource = Object.entries(annotations)
    .filter(([name]) => name.startsWith(RESOURCE_ANNOTATION_PREFIX))
    .map(([name, value]) => `${name.slice(RESOURCE_ANNOTATION_PREFIX.length)}=${encodeURIComponent(value)}`);
  return { OTEL_RESOURCE_ATTRIBUTES: resource.join(','), ...Object.fromEntries(own) };
}

interface ImageConfig {
  readonly Env?: string[];
  readonly Entrypoint?: string[];
  readonly Cmd?: string[];
  readonly User?: string;
}

/** Unpacks the image of a digest out of an OCI layout (OCI image specification, "Image Layout", "Image Manifest"). */
async function unpackImage(layout: string, digest: string, root: string): Promise<ImageConfig> {
  const blob = (of: string) => join(layout, 'blobs', of.replace(':', '/'));
  const manifest = await readJson<{ config: { digest: string }; layers: { digest: string }[] }>(blob(digest));
  if (!manifest) {
    throw new ThroughlineError('TL_FILE_NOT_FOUND', 'The committed image is not here', {
      expected: `${digest} in ${layout}`,
    });
  }
  await mkdir(root, { recursive: true });
  for (const { digest: layer } of manifest.layers) await run('tar', ['-xf', blob(layer), '-C', root]);
  const config = await readJson<{ config?: ImageConfig }>(blob(manifest.config.digest));
  return config?.config ?? {};
}

async function untilReady(url: string, service: ChildProcess, log: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const ready = await fetch(`${url}/readyz`).then(
      (response) => response.ok,
      () => false,
    );
    if (ready) return;
    if (service.exitCode !== null || Date.now() > deadline) {
      service.kill('SIGKILL');
      throw new ThroughlineError('TL_INTERNAL', 'The inference service does not start', {
        found: (await readText(log))?.slice(-1000),
      });
    }
    await sleep(100);
  }
}
