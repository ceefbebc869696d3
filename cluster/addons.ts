// What runs on the cluster before anything of a user's does: its images, Argo CD's definitions, buildkitd, and the
// accounts of Throughline's own worker and gateway. Each is applied, so that a second time changes nothing.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Built } from './components.js';
import { PAUSE_IMAGE, writeKubeconfig } from './configuration.js';
import type { Programs } from './debian.js';
import { debianRoot, Images } from './images.js';
import { GIT, type Layout, NAMESPACES, NODE, OCI_IMAGE, PORTS, REGISTRY, ROOT } from './layout.js';
import type { Inside } from './machine.js';
import { step, until } from './shell.js';
import { readState } from './state.js';

const BUILDKIT_IMAGE = `${REGISTRY}/throughline/buildkit:1`;

type Manifest = Record<string, unknown>;

export async function addOns(
  layout: Layout,
  built: Built,
  programs: Programs,
  inside: Inside,
  startArgocd: () => Promise<void>,
): Promise<void> {
  const kubectl = (parameters: string[], input?: string) =>
    inside.run(
      join(built.kubernetes, 'kubectl'),
      ['--kubeconfig', layout.kubeconfig('admin'), ...parameters],
      input,
    );
  const apply = (documents: Manifest[], namespace?: string) =>
    kubectl(
      [
        'apply',
        '--server-side',
        '--force-conflicts',
        '--filename',
        '-',
        ...(namespace ? ['--namespace', namespace] : []),
      ],
      documents.map((document) => stringify(document)).join('---\n'),
    );
  const images = new Images(layout, built, programs, inside);

  await step('making the cluster’s own images', async () => {
    await images.load(PAUSE_IMAGE, {
      entrypoint: ['/tools', 'pause'],
      layers: [{ files: { '/tools': join(built.tools, 'tools') } }],
    });
    await images.push(OCI_IMAGE, {
      entrypoint: ['/throughline-oci'],
      layers: [
        {
          files: { '/throughline-oci': join(built.oci, 'throughline-oci') },
          directories: { '/tmp': '1777' },
        },
      ],
    });
  });
  const root = await debianRoot(programs);
  await step('making the image of buildkitd', () =>
    images.push(BUILDKIT_IMAGE, {
      env: ['PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      entrypoint: ['/usr/local/bin/buildkitd'],
      layers: [
        { tar: root },
        {
          files: {
            '/usr/local/bin/buildkitd': join(built.buildkit, 'buildkitd'),
            '/usr/local/bin/buildctl': join(built.buildkit, 'buildctl'),
          },
        },
      ],
    }),
  );

  await step('applying namespaces, accounts and Argo CD’s definitions', async () => {
    await apply(
      Object.values(NAMESPACES).map((name) => ({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } })),
    );
    await kubectl([
      'apply',
      '--server-side',
      '--force-conflicts',
      '--kustomize',
      join(ROOT, 'deploy', 'kubernetes', 'access'),
    ]);
    for (const namespace of [NAMESPACES.training, NAMESPACES.serving, NAMESPACES.throughline]) {
      await apply(pullSecrets(layout), namespace);
    }
    await kubectl(['apply', '--server-side', '--force-conflicts', '--filename', join(built.argocd, 'crds')]);
    // kubectl takes a definition that has no conditions yet for an error.
    await until('the definitions', 60, () =>
      kubectl([
        'wait',
        '--for=condition=Established',
        '--timeout=30s',
        '--filename',
        join(built.argocd, 'crds'),
      ]).then(() => true),
    );
    await apply(argocd(layout), NAMESPACES.argocd);
  });
  writeFileSync(layout.path('argocd', 'tls', NODE.address), readFileSync(layout.certificate('ca')));
  await accounts(layout, kubectl);

  const overlay = buildkitOverlay(layout);
  await step('starting buildkitd', async () => {
    await apply(buildkitSecrets(layout), NAMESPACES.throughline);
    await kubectl(['apply', '--server-side', '--force-conflicts', '--kustomize', overlay]);
    // Its own answer counts: after a restart the Deployment's status is as old as the last shutdown.
    const address = `tcp://${NODE.buildkitService}:${PORTS.buildkit}`;
    const tls = [
      `--tlscacert=${layout.certificate('ca')}`,
      `--tlscert=${layout.certificate('buildkit-client')}`,
      `--tlskey=${layout.key('buildkit-client')}`,
    ];
    const buildctl = join(built.buildkit, 'buildctl');
    await until('buildkitd', 120, () =>
      inside.run(buildctl, [`--addr=${address}`, ...tls, '--timeout=2', 'debug', 'workers']).then(() => true),
    );
  });
  await startArgocd();
}

/** The registry's credentials and certificate, for pods: image pulls, and the hand-over of models. */
function pullSecrets(layout: Layout): Manifest[] {
  const config = readFileSync(join(layout.dockerConfig, 'config.json')).toString('base64');
  return [
    {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'kubernetes.io/dockerconfigjson',
      metadata: { name: 'registry' },
      data: { '.dockerconfigjson': config },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'registry-ca' },
      data: { 'ca.crt': readFileSync(layout.certificate('ca'), 'utf8') },
    },
    {
      apiVersion: 'v1',
      kind: 'ServiceAccount',
      metadata: { name: 'default' },
      imagePullSecrets: [{ name: 'registry' }],
    },
  ];
}

/** Argo CD's settings (its documentation, "Declarative Setup"), core mode. */
function argocd(layout: Layout): Manifest[] {
  const [username = '', password = ''] = readFileSync(layout.credentials, 'utf8').trim().split(':');
  const partOf = { 'app.kubernetes.io/part-of': 'argocd' };
  const configMap = (name: string, data: Record<string, string> = {}) => ({
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name, labels: partOf },
    data,
  });
  return [
    configMap('argocd-cm', { 'timeout.reconciliation': '60s' }),
    configMap('argocd-cmd-params-cm'),
    configMap('argocd-rbac-cm'),
    configMap('argocd-ssh-known-hosts-cm'),
    configMap('argocd-gpg-keys-cm'),
    configMap('argocd-tls-certs-cm', { [NODE.address]: readFileSync(layout.certificate('ca'), 'utf8') }),
    { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'argocd-secret', labels: partOf } },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'git', labels: { 'argocd.argoproj.io/secret-type': 'repo-creds' } },
      stringData: { type: 'git', url: GIT, username, password },
    },
    {
      apiVersion: 'argoproj.io/v1alpha1',
      kind: 'AppProject',
      metadata: { name: 'default' },
      spec: {
        sourceRepos: ['*'],
        destinations: [{ namespace: '*', server: '*' }],
        clusterResourceWhitelist: [{ group: '*', kind: '*' }],
      },
    },
  ];
}

/** Kubeconfigs of service accounts, with tokens that end. A token that holds for long is made anew at every `up`. */
async function accounts(layout: Layout, kubectl: (parameters: string[]) => Promise<string>): Promise<void> {
  const server = `https://127.0.0.1:${readState(layout)?.apiPort}`;
  for (const name of ['throughline-worker', 'throughline-gateway']) {
    const token = await kubectl([
      'create',
      'token',
      name,
      '--namespace',
      NAMESPACES.throughline,
      '--duration',
      '24h',
    ]);
    writeKubeconfig(layout, name, server, { token: token.trim() }, NAMESPACES.training);
  }
}

function buildkitSecrets(layout: Layout): Manifest[] {
  const base64 = (path: string) => readFileSync(path).toString('base64');
  return [
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'buildkitd-telemetry' },
      data: {
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://${NODE.address}:${PORTS.otlpGrpc}`,
        OTEL_SERVICE_NAME: 'buildkitd',
      },
    },
    {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'kubernetes.io/tls',
      metadata: { name: 'buildkitd-tls' },
      data: {
        'tls.crt': base64(layout.certificate('buildkitd')),
        'tls.key': base64(layout.key('buildkitd')),
        'ca.crt': base64(layout.certificate('ca')),
      },
    },
  ];
}

/** deploy/kubernetes/buildkit as it is, with this cluster's image, address, certificate and a cache that stays. */
function buildkitOverlay(layout: Layout): string {
  const directory = layout.path('overlays', 'buildkit');
  mkdirSync(directory, { recursive: true });
  const cache = layout.path('buildkit');
  mkdirSync(cache, { recursive: true });
  const base = join(ROOT, 'deploy', 'kubernetes', 'buildkit');
  const config = `[registry."${REGISTRY}"]\n  ca = ["/etc/buildkit/registry/ca.crt"]\n`;
  const patches = [
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: { name: 'buildkitd' },
      spec: {
        template: {
          spec: {
            containers: [
              {
                name: 'buildkitd',
                image: BUILDKIT_IMAGE,
                volumeMounts: [
                  { name: 'registry-ca', mountPath: '/etc/buildkit/registry', readOnly: true },
                  // git, which fetches build contexts, reads the system's certificates.
                  {
                    name: 'registry-ca',
                    mountPath: '/etc/ssl/certs/ca-certificates.crt',
                    subPath: 'ca.crt',
                    readOnly: true,
                  },
                ],
              },
            ],
            volumes: [
              { name: 'cache', emptyDir: null, hostPath: { path: cache, type: 'Directory' } },
              { name: 'registry-ca', configMap: { name: 'registry-ca' } },
            ],
          },
        },
      },
    },
    {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'buildkitd-config' },
      data: { 'buildkitd.toml': config },
    },
    {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'buildkitd' },
      spec: { clusterIP: NODE.buildkitService, ports: [{ port: PORTS.buildkit }] },
    },
  ];
  writeFileSync(
    join(directory, 'kustomization.yaml'),
    stringify({
      apiVersion: 'kustomize.config.k8s.io/v1beta1',
      kind: 'Kustomization',
      namespace: NAMESPACES.throughline,
      resources: [relativeTo(directory, base)],
      patches: patches.map((patch) => ({ patch: stringify(patch) })),
    }),
  );
  return directory;
}

/** Kustomize takes no absolute paths. */
function relativeTo(directory: string, target: string): string {
  return join(
    ...directory
      .split('/')
      .filter(Boolean)
      .map(() => '..'),
    target,
  );
}
