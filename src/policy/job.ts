// What a training Job may have: the `baseline` of Kubernetes' Pod Security Standards, and service accounts by name. It is
// the plan's author who writes the manifest, and the worker's rights that create it. Pure.
import type { JobManifest } from '../plan/job.js';

/** What an operator can let Jobs have. */
export const JOB_FEATURES = [
  'hostPath',
  'hostNetwork',
  'hostPID',
  'hostIPC',
  'hostPorts',
  'privileged',
  'capabilities',
  'hostProcess',
  'procMount',
  'seccompUnconfined',
  'appArmorUnconfined',
  'seLinuxOptions',
  'sysctls',
  'nodeName',
] as const;
export type JobFeature = (typeof JOB_FEATURES)[number];

/** Something that is not allowed: where it stands below `spec.template`, and what it is. */
export interface JobViolation {
  readonly path: readonly (string | number)[];
  readonly what: string;
  /** What an operator would have to allow. */
  readonly feature: JobFeature;
}

/** Pod Security Standards, baseline, "Capabilities". */
const CAPABILITIES = new Set([
  'AUDIT_WRITE',
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'MKNOD',
  'NET_BIND_SERVICE',
  'SETFCAP',
  'SETGID',
  'SETPCAP',
  'SETUID',
  'SYS_CHROOT',
]);

/** Pod Security Standards, baseline, "Sysctls". */
const SYSCTLS = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.ping_group_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
]);

/** Pod Security Standards, baseline, "SELinux". */
const SELINUX_TYPES = new Set([
  '',
  'container_t',
  'container_init_t',
  'container_kvm_t',
  'container_engine_t',
]);

type Json = Readonly<Record<string, unknown>>;
const object = (value: unknown): Json => (typeof value === 'object' && value !== null ? (value as Json) : {});
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

const CONTAINERS = ['containers', 'initContainers', 'ephemeralContainers'] as const;

/** The containers of the Job's pods, of every kind, each with its place in the manifest. */
export function containersOf(job: JobManifest): { path: (string | number)[]; container: Json }[] {
  const spec = object(job.spec.template.spec);
  return CONTAINERS.flatMap((kind) =>
    list(spec[kind]).map((container, index) => ({
      path: ['spec', 'template', 'spec', kind, index],
      container: object(container),
    })),
  );
}

/** Everything of a Job that the baseline does not allow. */
export function jobViolations(job: JobManifest): JobViolation[] {
  const found: JobViolation[] = [];
  const pod = ['spec', 'template', 'spec'];
  const spec = object(job.spec.template.spec);
  const say = (feature: JobFeature, path: readonly (string | number)[], what: string) =>
    found.push({ feature, path, what });

  for (const feature of ['hostNetwork', 'hostPID', 'hostIPC'] as const) {
    if (spec[feature]) say(feature, [...pod, feature], feature);
  }
  if (spec.nodeName) say('nodeName', [...pod, 'nodeName'], 'a node, past the scheduler');
  list(spec.volumes).forEach((volume, index) => {
    if (object(volume).hostPath !== undefined) {
      say(
        'hostPath',
        [...pod, 'volumes', index, 'hostPath'],
        `the host path ${text(object(object(volume).hostPath).path)}`,
      );
    }
  });
  const security = object(spec.securityContext);
  list(security.sysctls).forEach((sysctl, index) => {
    const { name } = object(sysctl);
    if (!SYSCTLS.has(String(name)))
      say('sysctls', [...pod, 'securityContext', 'sysctls', index], `the sysctl ${text(name)}`);
  });
  checkSecurity(security, [...pod, 'securityContext'], say);
  for (const { path, container } of containersOf(job)) {
    const own = object(container.securityContext);
    const at = [...path, 'securityContext'];
    checkSecurity(own, at, say);
    if (own.privileged) say('privileged', [...at, 'privileged'], 'a privileged container');
    if (own.procMount !== undefined && own.procMount !== 'Default')
      say('procMount', [...at, 'procMount'], `procMount ${text(own.procMount)}`);
    for (const capability of list(object(own.capabilities).add)) {
      const name = String(capability).replace(/^CAP_/i, '').toUpperCase();
      if (!CAPABILITIES.has(name))
        say('capabilities', [...at, 'capabilities', 'add'], `the capability ${text(capability)}`);
    }
    list(container.ports).forEach((port, index) => {
      const { hostPort } = object(port);
      if (hostPort !== undefined && hostPort !== 0)
        say('hostPorts', [...path, 'ports', index, 'hostPort'], `the host’s port ${text(hostPort)}`);
    });
  }
  const { annotations } = (job.spec.template.metadata ?? {}) as { annotations?: Json };
  for (const [name, value] of Object.entries(annotations ?? {})) {
    if (name.startsWith('container.apparmor.security.beta.kubernetes.io/') && value === 'unconfined') {
      say('appArmorUnconfined', ['spec', 'template', 'metadata', 'annotations', name], 'AppArmor unconfined');
    }
  }
  return found;
}

/** What a pod's and a container's security context have in common. */
function checkSecurity(
  security: Json,
  path: readonly (string | number)[],
  say: (feature: JobFeature, path: readonly (string | number)[], what: string) => void,
): void {
  if (object(security.windowsOptions).hostProcess)
    say('hostProcess', [...path, 'windowsOptions', 'hostProcess'], 'a host process');
  if (object(security.seccompProfile).type === 'Unconfined')
    say('seccompUnconfined', [...path, 'seccompProfile', 'type'], 'seccomp unconfined');
  if (object(security.appArmorProfile).type === 'Unconfined')
    say('appArmorUnconfined', [...path, 'appArmorProfile', 'type'], 'AppArmor unconfined');
  const { type = '', user, role } = object(security.seLinuxOptions);
  if (!SELINUX_TYPES.has(String(type)) || user || role)
    say('seLinuxOptions', [...path, 'seLinuxOptions'], 'an SELinux user, role or type of its own');
}

function text(value: unknown): string {
  return (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'undefined')).slice(0, 200);
}
