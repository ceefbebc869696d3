// What a cluster could leave behind on a machine: processes, mounts, network devices, namespaces, control groups and
// listening sockets. Linux alone.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

const attempt = (read) => {
  try {
    return read();
  } catch {
    return undefined; // it ended meanwhile
  }
};
const processes = () => readdirSync('/proc').filter((name) => /^\d+$/.test(name));

/** Each kind with what there is of it, as words that can be compared. */
export function inventory() {
  const pids = processes();
  return {
    processes: pids
      .map((pid) =>
        attempt(() => `${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`),
      )
      .filter((line) => line?.trim().includes(' ')),
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter(Boolean)
      .map((line) => line.split(' ').slice(3, 5).join(' ')),
    'network devices': readdirSync('/sys/class/net'),
    namespaces: [
      ...new Set(
        pids.flatMap((pid) =>
          ['net', 'mnt', 'pid', 'uts', 'ipc', 'cgroup'].map((kind) =>
            attempt(() => readlinkSync(`/proc/${pid}/ns/${kind}`)),
          ),
        ),
      ),
    ].filter(Boolean),
    'named namespaces': attempt(() => readdirSync('/run/netns')) ?? [],
    'control groups':
      attempt(() =>
        execFileSync('find', ['/sys/fs/cgroup', '-type', 'd'], {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'ignore'],
        })
          .split('\n')
          .filter(Boolean),
      ) ?? [],
    'listening sockets': ['tcp', 'tcp6']
      .flatMap((table) =>
        (attempt(() => readFileSync(`/proc/net/${table}`, 'utf8')) ?? '').split('\n').slice(1),
      )
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === '0A') // TCP_LISTEN, include/net/tcp_states.h
      .map((fields) => fields[1]),
  };
}

/** What is there now and was not there before, by kind. */
export function leftSince(before) {
  const after = inventory();
  return Object.fromEntries(
    Object.entries(after).map(([kind, now]) => {
      const known = new Set(before[kind]);
      return [kind, now.filter((one) => !known.has(one))];
    }),
  );
}
