// The cluster's machine: one process 1 with network, mount, PID, UTS and IPC namespaces of its own. Everything of the
// cluster runs in it, so that the kernel takes all of it away with process 1: processes, mounts, network devices.
import { spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Programs } from './debian.js';
import { type Layout, NODE } from './layout.js';
import { answer, ClusterError, hand, run, until } from './shell.js';

export interface Machine {
  /** Process 1, as this machine counts. */
  readonly pid: number;
  /** From /proc/PID/stat: tells it from a later process with the same number. */
  readonly startTime: string;
}

/** The field `starttime` of proc(5)'s stat: what follows the last parenthesis begins with field 3. */
export function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    return undefined;
  }
}

export const isAlive = (machine: Machine) => startTimeOf(machine.pid) === machine.startTime;

/** Directories that programs expect outside of the cluster's own; in the machine they are the cluster's. */
const MOUNT_POINTS = ['/var/log/pods', '/var/log/containers', '/var/lib/kubelet', '/var/lib/cni'];

export async function boot(layout: Layout, tools: string, programs: Programs): Promise<Machine> {
  // What ended without "down" has left process ids behind, which mean other processes in this machine.
  rmSync(layout.run, { recursive: true, force: true });
  mkdirSync(layout.run, { recursive: true });
  const previous = `${layout.logs}.previous`;
  rmSync(previous, { recursive: true, force: true });
  if (existsSync(layout.logs)) renameSync(layout.logs, previous);
  mkdirSync(layout.logs, { recursive: true });
  const made = MOUNT_POINTS.filter((point) => !existsSync(point));
  for (const point of MOUNT_POINTS) {
    mkdirSync(point, { recursive: true });
    mkdirSync(layout.path('mounts', point), { recursive: true });
  }
  writeFileSync(layout.path('made.json'), JSON.stringify(made));
  writeFileSync(layout.path('hosts'), `127.0.0.1 localhost\n::1 localhost\n${NODE.address} ${NODE.name}\n`);
  writeFileSync(layout.path('resolv.conf'), '# Nothing is asked of the outside.\n');
  const script = [
    'mount --make-rshared /', // pods' mounts propagate within the machine, and nowhere else
    'mount -t tmpfs -o mode=755 tmpfs /run',
    'mkdir -p /run/lock /run/netns /run/containerd',
    ...MOUNT_POINTS.map((point) => `mount --bind "$ROOT/mounts${point}" ${point}`),
    'mount --bind "$ROOT/hosts" /etc/hosts',
    'if [ -f /etc/resolv.conf ]; then mount --bind "$ROOT/resolv.conf" /etc/resolv.conf; fi',
    `hostname ${NODE.name}`,
    'ip link set lo up',
    // A bridge without ports carries the node's address: a dummy device would do, and not every kernel has one.
    'ip link add node0 type bridge',
    `ip address add ${NODE.address}/${NODE.prefix} dev node0`,
    'ip link set node0 up',
    // Services are reached through kube-proxy's rules, which come after a route has been found.
    `ip route add ${NODE.services} dev node0`,
    'echo 1 > /proc/sys/net/ipv4/ip_forward',
    'exec "$TOOLS" init',
  ].join('\n');
  const log = openSync(join(layout.logs, 'machine.log'), 'w');
  const child = spawn(
    'unshare',
    [
      '--net',
      '--mount',
      '--pid',
      '--uts',
      '--ipc',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-euc',
      script,
    ],
    {
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...programs.env, ROOT: layout.root, TOOLS: tools },
    },
  );
  closeSync(log);
  child.unref();
  const failed = () => child.exitCode !== null || child.signalCode !== null;
  let pid: number | undefined;
  await until('the cluster’s machine', 10, async () => {
    if (failed()) throw new ClusterError(readFileSync(join(layout.logs, 'machine.log'), 'utf8'));
    pid = childOf(child.pid ?? 0);
    // It has become its own program when the script is through.
    return pid !== undefined && readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(tools);
  });
  const startTime = pid === undefined ? undefined : startTimeOf(pid);
  if (pid === undefined || startTime === undefined)
    throw new ClusterError('The cluster’s machine did not start');
  return { pid, startTime };
}

function childOf(pid: number): number | undefined {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  return children ? Number(children.split(' ')[0]) : undefined;
}

/** Ends process 1, and with it everything in the machine; removes what the kernel keeps of it. */
export async function shutDown(machine: Machine, layout: Layout): Promise<void> {
  if (isAlive(machine)) {
    process.kill(machine.pid, 'SIGKILL'); // a process 1 takes no other from inside; from outside this always arrives
    await until('the end of the cluster’s machine', 30, async () => !isAlive(machine));
  }
  await until('the end of its control groups', 30, async () => removeControlGroups(layout));
  const made = layout.path('made.json');
  if (existsSync(made)) {
    for (const point of JSON.parse(readFileSync(made, 'utf8')) as string[]) {
      try {
        rmdirSync(point);
      } catch {
        // somebody else uses it by now
      }
    }
    rmSync(made);
  }
}

export const controlGroup = (layout: Layout) => `throughline-${layout.name}`;

/** Control groups (cgroups(7)): one hierarchy, or one per controller. */
function hierarchies(): string[] {
  const root = '/sys/fs/cgroup';
  if (existsSync(join(root, 'cgroup.controllers'))) return [root];
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(root, name));
}

export function makeControlGroups(layout: Layout): void {
  for (const hierarchy of hierarchies()) {
    const group = join(hierarchy, controlGroup(layout));
    mkdirSync(group, { recursive: true });
    // In the one hierarchy controllers are handed down explicitly; in the others cpuset wants its values first.
    const controllers = join(hierarchy, 'cgroup.controllers');
    if (existsSync(controllers)) {
      const names = readFileSync(controllers, 'utf8')
        .trim()
        .split(' ')
        .filter((name) => ['cpu', 'cpuset', 'io', 'memory', 'pids', 'hugetlb'].includes(name));
      for (const directory of [hierarchy, group]) {
        writeFileSync(join(directory, 'cgroup.subtree_control'), names.map((name) => `+${name}`).join(' '));
      }
    }
    for (const file of ['cpuset.cpus', 'cpuset.mems']) {
      const inherited = join(hierarchy, file);
      if (existsSync(inherited) && existsSync(join(group, file)) && !existsSync(controllers)) {
        writeFileSync(join(group, file), readFileSync(inherited));
      }
    }
  }
}

/** Whether all of them are gone. */
function removeControlGroups(layout: Layout): boolean {
  let gone = true;
  const remove = (group: string): void => {
    for (const entry of readdirSync(group, { withFileTypes: true })) {
      if (entry.isDirectory()) remove(join(group, entry.name));
    }
    rmdirSync(group);
  };
  for (const hierarchy of hierarchies()) {
    const group = join(hierarchy, controlGroup(layout));
    if (!existsSync(group)) continue;
    try {
      remove(group);
    } catch {
      gone = false; // a process is still on its way out
    }
  }
  return gone;
}

/** A component's process, by the file that says its id within the machine. */
export class Inside {
  constructor(
    readonly machine: Machine,
    private readonly layout: Layout,
    private readonly tools: string,
    private readonly programs: Programs,
  ) {}

  /** Runs a program to its end in the machine. */
  run(program: string, parameters: readonly string[], input?: string): Promise<string> {
    return run(this.tools, ['enter', String(this.machine.pid), program, ...parameters], {
      env: this.programs.env,
      ...(input === undefined ? {} : { input }),
    });
  }

  /** Runs a program with our own input and output. */
  hand(parameters: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
    return hand(this.tools, ['enter', String(this.machine.pid), ...parameters], env);
  }

  async start(
    name: string,
    program: string,
    parameters: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    if (await this.isRunning(name)) return;
    const { pidFile, logFile } = this.files(name);
    await run(
      this.tools,
      ['enter', String(this.machine.pid), this.tools, 'launch', pidFile, logFile, program, ...parameters],
      {
        env: { ...this.programs.env, ...env },
      },
    );
  }

  /** Passes connections to ports of this machine's loopback on, to the same or other ports in the cluster's machine. */
  async forward(name: string, pairs: Readonly<Record<string, string>>): Promise<void> {
    const { pidFile, logFile } = this.files(name);
    await run(this.tools, [
      'forward',
      String(this.machine.pid),
      pidFile,
      logFile,
      ...Object.entries(pairs).map(([from, to]) => `${from}=${to}`),
    ]);
  }

  async stop(name: string, signal: 'TERM' | 'KILL' = 'TERM'): Promise<void> {
    const pid = this.pidOf(name);
    if (pid === undefined || !(await this.isRunning(name))) return;
    await this.run('kill', [`-${signal}`, String(pid)]);
    await until(`the end of ${name}`, 20, async () => !(await this.isRunning(name)));
  }

  async isRunning(name: string): Promise<boolean> {
    const pid = this.pidOf(name);
    if (pid === undefined) return false;
    return (
      (await answer(this.tools, 'enter', String(this.machine.pid), 'kill', '-0', String(pid))) !== undefined
    );
  }

  /** The end of its log, for an error message. */
  log(name: string): string {
    const { logFile } = this.files(name);
    return existsSync(logFile) ? readFileSync(logFile, 'utf8').slice(-3000) : '';
  }

  private pidOf(name: string): number | undefined {
    const { pidFile } = this.files(name);
    return existsSync(pidFile) ? Number(readFileSync(pidFile, 'utf8')) : undefined;
  }

  private files(name: string) {
    return { pidFile: join(this.layout.run, `${name}.pid`), logFile: join(this.layout.logs, `${name}.log`) };
  }
}
