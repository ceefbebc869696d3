// The programs of the cluster, in the order in which they are started: how, and how it shows that they are ready.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  writeAuditPolicy,
  writeContainerd,
  writeKubelet,
  writeKubeProxy,
  writeRegistry,
} from './configuration.js';
import type { Programs } from './debian.js';
import { GIT, type Layout, NODE, PORTS, REGISTRY } from './layout.js';
import type { Inside } from './machine.js';

export interface Built {
  readonly kubernetes: string;
  readonly argocd: string;
  readonly jaeger: string;
  readonly tools: string;
  readonly buildkit: string;
  readonly oci: string;
  readonly buildClient: string;
}

export interface Component {
  readonly name: string;
  readonly program: string;
  readonly parameters: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly ready: () => Promise<boolean>;
}

/** Components of one stage start together. */
export function components(
  layout: Layout,
  built: Built,
  programs: Programs,
  inside: Inside,
  apiPort: number,
): readonly (readonly Component[])[] {
  const kubernetes = (program: string) => join(built.kubernetes, program);
  const kubectl = (...parameters: string[]) =>
    inside.run(kubernetes('kubectl'), ['--kubeconfig', layout.kubeconfig('admin'), ...parameters]);
  const ca = layout.certificate('ca');
  const answers = (...parameters: string[]) =>
    inside
      .run('curl', ['--silent', '--show-error', '--fail', '--max-time', '2', '--cacert', ca, ...parameters])
      .then(() => true);
  const succeeds = (program: string, ...parameters: string[]) =>
    inside.run(program, parameters).then(() => true);
  const keyPair = (name: string) => ({ certificate: layout.certificate(name), key: layout.key(name) });
  const [etcd, server, client] = [keyPair('etcd'), keyPair('apiserver'), keyPair('apiserver-client')];
  for (const directory of [
    'etcd',
    'registry/data',
    'git',
    'argocd/tls',
    'argocd/tmp',
    'argocd/gpg',
    'argocd/ssh',
    'redis',
    'plugins',
  ]) {
    mkdirSync(layout.path(directory), { recursive: true, mode: 0o700 });
  }
  const etcdUrl = `https://127.0.0.1:${PORTS.etcd}`;

  return [
    [
      {
        name: 'etcd',
        program: programs.path('etcd'),
        parameters: [
          `--data-dir=${layout.path('etcd')}`,
          `--listen-client-urls=${etcdUrl}`,
          `--advertise-client-urls=${etcdUrl}`,
          '--listen-peer-urls=http://127.0.0.1:2380',
          `--cert-file=${etcd.certificate}`,
          `--key-file=${etcd.key}`,
          `--trusted-ca-file=${ca}`,
          '--client-cert-auth=true',
          '--log-level=warn',
          '--logger=zap',
        ],
        ready: () => answers('--cert', client.certificate, '--key', client.key, `${etcdUrl}/health`),
      },
      {
        name: 'containerd',
        program: programs.path('containerd'),
        parameters: ['--config', writeContainerd(layout, programs), '--log-level', 'warn'],
        ready: () =>
          succeeds(programs.path('ctr'), '--address', '/run/containerd/containerd.sock', 'version'),
      },
      {
        name: 'registry',
        program: programs.path('docker-registry'),
        parameters: ['serve', writeRegistry(layout)],
        env: { OTEL_TRACES_EXPORTER: 'none' },
        ready: () =>
          succeeds(
            'curl',
            '--silent',
            '--max-time',
            '2',
            '--cacert',
            ca,
            '--output',
            '/dev/null',
            `https://${REGISTRY}/v2/`,
          ),
      },
      {
        name: 'git',
        program: join(built.tools, 'tools'),
        parameters: [
          'git',
          GIT.replace('https://', ''),
          layout.repositories,
          layout.certificate('git'),
          layout.key('git'),
          layout.credentials,
        ],
        ready: () =>
          succeeds('curl', '--silent', '--max-time', '2', '--cacert', ca, '--output', '/dev/null', GIT),
      },
      {
        name: 'redis',
        program: programs.path('redis-server'),
        parameters: [
          '--bind',
          '127.0.0.1',
          '--port',
          String(PORTS.redis),
          '--save',
          '',
          '--appendonly',
          'no',
          '--dir',
          layout.path('redis'),
        ],
        ready: () =>
          succeeds(
            'sh',
            '-c',
            `printf 'PING\\r\\n' | timeout 1 bash -c 'exec 3<>/dev/tcp/127.0.0.1/${PORTS.redis}; cat >&3; head -c 5 <&3' | grep -q PONG`,
          ),
      },
      {
        name: 'jaeger',
        program: join(built.jaeger, 'jaeger'),
        parameters: [
          `--query.http-server.host-port=127.0.0.1:${PORTS.jaegerQuery}`,
          `--collector.otlp.grpc.host-port=0.0.0.0:${PORTS.otlpGrpc}`,
          `--collector.otlp.http.host-port=0.0.0.0:${PORTS.otlpHttp}`,
          '--memory.max-traces=20000',
          '--log-level=warn',
        ],
        env: { JAEGER_DISABLED: 'true' }, // it need not trace itself
        ready: () => answers(`http://127.0.0.1:${PORTS.jaegerQuery}/api/services`),
      },
    ],
    [
      {
        name: 'kube-apiserver',
        program: kubernetes('kube-apiserver'),
        parameters: [
          `--etcd-servers=${etcdUrl}`,
          `--etcd-cafile=${ca}`,
          `--etcd-certfile=${client.certificate}`,
          `--etcd-keyfile=${client.key}`,
          '--bind-address=0.0.0.0',
          `--secure-port=${apiPort}`,
          `--advertise-address=${NODE.address}`,
          `--tls-cert-file=${server.certificate}`,
          `--tls-private-key-file=${server.key}`,
          `--client-ca-file=${ca}`,
          '--anonymous-auth=false',
          '--authorization-mode=Node,RBAC',
          '--enable-admission-plugins=NodeRestriction',
          '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
          `--service-account-key-file=${layout.path('pki', 'service-account.pub')}`,
          `--service-account-signing-key-file=${layout.path('pki', 'service-account.key')}`,
          `--service-cluster-ip-range=${NODE.services}`,
          `--kubelet-certificate-authority=${ca}`,
          `--kubelet-client-certificate=${client.certificate}`,
          `--kubelet-client-key=${client.key}`,
          '--kubelet-preferred-address-types=InternalIP',
          '--allow-privileged=true', // buildkitd makes containers itself
          `--audit-policy-file=${writeAuditPolicy(layout)}`,
          `--audit-log-path=${layout.path('logs', 'audit.log')}`,
          '--audit-log-maxsize=100',
          '--audit-log-maxbackup=2',
        ],
        ready: () => kubectl('get', '--raw', '/readyz').then((text) => text === 'ok'),
      },
    ],
    [
      {
        name: 'kube-controller-manager',
        program: kubernetes('kube-controller-manager'),
        parameters: [
          `--kubeconfig=${layout.kubeconfig('kube-controller-manager')}`,
          `--service-account-private-key-file=${layout.path('pki', 'service-account.key')}`,
          `--root-ca-file=${ca}`,
          '--use-service-account-credentials=true',
          '--leader-elect=false', // there is one
          '--bind-address=127.0.0.1',
          `--flex-volume-plugin-dir=${layout.path('plugins')}`,
        ],
        ready: () => kubectl('get', 'serviceaccount', 'default', '--namespace', 'default').then(() => true),
      },
      {
        name: 'kube-scheduler',
        program: kubernetes('kube-scheduler'),
        parameters: [
          `--kubeconfig=${layout.kubeconfig('kube-scheduler')}`,
          '--leader-elect=false',
          '--bind-address=127.0.0.1',
        ],
        ready: async () => true, // that pods run shows it
      },
      {
        name: 'kubelet',
        program: kubernetes('kubelet'),
        parameters: [
          `--config=${writeKubelet(layout)}`,
          `--kubeconfig=${layout.kubeconfig('kubelet')}`,
          `--hostname-override=${NODE.name}`,
          `--node-ip=${NODE.address}`,
          `--volume-plugin-dir=${layout.path('plugins')}`,
        ],
        ready: () =>
          kubectl(
            'get',
            'node',
            NODE.name,
            '--output',
            'jsonpath={.status.conditions[?(@.type=="Ready")].status}',
          ).then((status) => status === 'True'),
      },
      {
        name: 'kube-proxy',
        program: kubernetes('kube-proxy'),
        parameters: [`--config=${writeKubeProxy(layout)}`],
        ready: () => answers('http://127.0.0.1:10256/livez'),
      },
    ],
  ];
}

/** Argo CD in core mode, outside of the cluster's pods: it needs its resource definitions first. */
export function argocdComponents(layout: Layout, built: Built, inside: Inside): readonly Component[] {
  const env = {
    ARGOCD_FAKE_IN_CLUSTER: 'true',
    KUBECONFIG: layout.kubeconfig('argocd'),
    ARGOCD_TLS_DATA_PATH: layout.path('argocd', 'tls'),
    ARGOCD_SSH_DATA_PATH: layout.path('argocd', 'ssh'),
    ARGOCD_GNUPGHOME: layout.path('argocd', 'gpg'),
    ARGOCD_GPG_ENABLED: 'false',
    ARGOCD_PLUGINSOCKFILEPATH: layout.path('argocd', 'plugins'),
    HOME: layout.path('argocd'),
    TMPDIR: layout.path('argocd', 'tmp'),
    PATH: `${built.argocd}:${process.env.PATH}`,
  };
  const listens = (port: number) => () =>
    inside.run('bash', ['-c', `exec 3<>/dev/tcp/127.0.0.1/${port}`]).then(() => true);
  return [
    {
      name: 'argocd-repo-server',
      program: join(built.argocd, 'argocd-repo-server'),
      parameters: [
        '--address=127.0.0.1',
        `--port=${PORTS.repoServer}`,
        '--disable-tls', // on the loopback of the cluster's own namespace
        '--client-ca-path=',
        `--redis=127.0.0.1:${PORTS.redis}`,
        '--loglevel=warn',
        '--metrics-address=127.0.0.1',
      ],
      env,
      ready: listens(PORTS.repoServer),
    },
    {
      name: 'argocd-application-controller',
      program: join(built.argocd, 'argocd-application-controller'),
      parameters: [
        `--repo-server=127.0.0.1:${PORTS.repoServer}`,
        '--repo-server-plaintext',
        `--redis=127.0.0.1:${PORTS.redis}`,
        '--loglevel=warn',
      ],
      env: { ...env, ARGOCD_APPLICATION_CONTROLLER_NAME: 'argocd-application-controller' },
      ready: listens(8082),
    },
  ];
}
