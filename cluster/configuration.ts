// The configuration files of the cluster's components, and why they differ from their defaults.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import type { Programs } from './debian.js';
import { type Layout, NODE, REGISTRY } from './layout.js';
import { controlGroup } from './machine.js';

export const PAUSE_IMAGE = 'localhost/throughline/pause:1';

function write(path: string, content: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

export function writeContainerd(layout: Layout, programs: Programs): string {
  const path = layout.path('containerd', 'config.toml');
  write(
    path,
    `version = 2
root = ${JSON.stringify(layout.path('containerd', 'root'))}
state = "/run/containerd"
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = ${JSON.stringify(PAUSE_IMAGE)}
  # Lowering a score takes CAP_SYS_RESOURCE, which not every machine gives; without it every sandbox would fail.
  restrict_oom_score_adj = ${!hasCapability(24)}
  disable_apparmor = true
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  BinaryName = ${JSON.stringify(programs.path('runc'))}
  SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = ${JSON.stringify(programs.cniPlugins)}
  conf_dir = ${JSON.stringify(layout.path('cni'))}
[plugins."io.containerd.grpc.v1.cri".registry]
  config_path = ${JSON.stringify(layout.path('containerd', 'certs.d'))}
`,
  );
  write(
    layout.path('containerd', 'certs.d', REGISTRY, 'hosts.toml'),
    `server = "https://${REGISTRY}"\n[host."https://${REGISTRY}"]\n  ca = ${JSON.stringify(layout.certificate('ca'))}\n`,
  );
  write(
    layout.path('cni', '10-pods.conflist'),
    JSON.stringify({
      cniVersion: '0.4.0',
      name: 'pods',
      plugins: [
        {
          type: 'ptp',
          ipMasq: false, // there is nothing outside that a pod could reach
          ipam: { type: 'host-local', ranges: [[{ subnet: NODE.pods }]], routes: [{ dst: '0.0.0.0/0' }] },
        },
        { type: 'portmap', capabilities: { portMappings: true } },
      ],
    }),
  );
  return path;
}

/** capabilities(7), from /proc/self/status. */
function hasCapability(number: number): boolean {
  const [, effective = '0'] = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
  return ((BigInt(`0x${effective}`) >> BigInt(number)) & 1n) === 1n;
}

export function writeKubelet(layout: Layout): string {
  const path = layout.path('kubelet', 'config.yaml');
  write(
    path,
    stringify({
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      address: NODE.address,
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true },
        x509: { clientCAFile: layout.certificate('ca') },
      },
      authorization: { mode: 'Webhook' },
      tlsCertFile: layout.certificate('kubelet'),
      tlsPrivateKeyFile: layout.key('kubelet'),
      containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
      cgroupDriver: 'cgroupfs', // there may be no systemd
      cgroupRoot: `/${controlGroup(layout)}`,
      failCgroupV1: false, // still what many machines have
      failSwapOn: false,
      localStorageCapacityIsolation: false,
      enforceNodeAllocatable: [],
      // A developer's disk may be nearly full: that is not the cluster's to judge.
      evictionHard: {
        'memory.available': '0%',
        'nodefs.available': '0%',
        'imagefs.available': '0%',
        'nodefs.inodesFree': '0%',
      },
      imageGCHighThresholdPercent: 100,
      clusterDNS: [NODE.dnsService],
      clusterDomain: 'cluster.local',
      resolvConf: layout.path('resolv.conf'),
      // Pods of a demo come and go; these make a status a second old instead of ten.
      nodeStatusUpdateFrequency: '5s',
      syncFrequency: '10s',
      serializeImagePulls: false,
      maxPods: 400,
      healthzPort: 10248,
    }),
  );
  return path;
}

export function writeKubeProxy(layout: Layout): string {
  const path = layout.path('kube-proxy', 'config.yaml');
  write(
    path,
    stringify({
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      clientConnection: { kubeconfig: layout.kubeconfig('kube-proxy') },
      mode: 'iptables',
      clusterCIDR: NODE.pods,
      hostnameOverride: NODE.name,
      // System-wide settings of the kernel are not the cluster's to change.
      conntrack: { maxPerCore: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    }),
  );
  return path;
}

export function writeRegistry(layout: Layout): string {
  const path = layout.path('registry', 'config.yaml');
  write(
    path,
    stringify({
      version: 0.1,
      log: { level: 'warn', accesslog: { disabled: true } },
      storage: { filesystem: { rootdirectory: layout.path('registry', 'data') }, delete: { enabled: true } },
      auth: { htpasswd: { realm: 'registry', path: layout.path('credentials', 'htpasswd') } },
      http: {
        addr: REGISTRY,
        tls: { certificate: layout.certificate('registry'), key: layout.key('registry') },
      },
    }),
  );
  return path;
}

/** Who asked the API server for what, for the tests that count requests; only of Throughline's own accounts. */
export function writeAuditPolicy(layout: Layout): string {
  const path = layout.path('audit.yaml');
  write(
    path,
    stringify({
      apiVersion: 'audit.k8s.io/v1',
      kind: 'Policy',
      omitStages: ['RequestReceived'],
      rules: [{ level: 'Metadata', userGroups: ['system:serviceaccounts:throughline'] }, { level: 'None' }],
    }),
  );
  return path;
}

export function writeKubeconfig(
  layout: Layout,
  user: string,
  server: string,
  credentials: object,
  namespace = 'default',
): string {
  const path = layout.kubeconfig(user);
  const ca = readFileSync(layout.certificate('ca')).toString('base64');
  write(
    path,
    stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'throughline', cluster: { server, 'certificate-authority-data': ca } }],
      users: [{ name: user, user: credentials }],
      contexts: [{ name: 'throughline', context: { cluster: 'throughline', user, namespace } }],
      'current-context': 'throughline',
    }),
  );
  return path;
}

export function certificateCredentials(layout: Layout, name: string): object {
  return {
    'client-certificate-data': readFileSync(layout.certificate(name)).toString('base64'),
    'client-key-data': readFileSync(layout.key(name)).toString('base64'),
  };
}

/** Registry and git credentials, made once per cluster. */
export function writeCredentials(layout: Layout, user: string, password: string, htpasswd: string): void {
  const { credentials } = layout;
  if (!existsSync(credentials)) {
    write(layout.path('credentials', 'htpasswd'), htpasswd);
    write(credentials, `${user}:${password}\n`);
  }
}

export function writeClients(layout: Layout, git: string): { user: string; password: string } {
  const [user = '', password = ''] = readFileSync(layout.credentials, 'utf8').trim().split(':');
  const auth = Buffer.from(`${user}:${password}`).toString('base64');
  write(join(layout.dockerConfig, 'config.json'), JSON.stringify({ auths: { [REGISTRY]: { auth } } }));
  const store = layout.path('credentials', 'git-credentials');
  write(store, git.replace('https://', `https://${user}:${password}@`));
  write(
    layout.gitConfig,
    `[credential]\n\thelper = store --file=${JSON.stringify(store)}\n[http ${JSON.stringify(`${git}/`)}]\n\tsslCAInfo = ${JSON.stringify(layout.certificate('ca'))}\n`,
  );
  return { user, password };
}
