// A real sshd on a loopback port, with a host key and authorized keys of its own, that serves the repositories below a
// directory. With root it runs as another user: it logs in nobody but whoever runs it, and root's own sshd would need
// things of the machine. Of that user libnss-wrapper tells it (scripts/setup.mjs brings both).
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../src/dev/ports.js';

/** Debian's nobody: the only user that is surely there besides root. */
const OTHER = 65_534;

export const SSHD = process.env.THROUGHLINE_TEST_SSHD;

export interface Sshd {
  /** `ssh://git@127.0.0.1:PORT`, to which the path of a repository is added. */
  readonly url: string;
  /** Its line of known_hosts. */
  readonly knownHost: string;
  /** What it has logged. */
  log(): string;
  stop(): Promise<void>;
}

/** A key pair in a file. */
export function newKey(path: string): { readonly file: string; readonly publicKey: string } {
  mkdirSync(dirname(path), { recursive: true });
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'test', '-f', path]);
  return { file: path, publicKey: readFileSync(`${path}.pub`, 'utf8').trim() };
}

/** `authorized` are lines of authorized_keys(5). `repositories` is given to the user that it runs as. */
export async function startSshd(
  directory: string,
  authorized: readonly string[],
  repositories: string,
  options: { readonly accept?: string } = {},
): Promise<Sshd> {
  if (!SSHD) throw new Error('there is no sshd: run the tests with `npm test`, or set THROUGHLINE_TEST_SSHD');
  const asOther = process.getuid?.() === 0;
  const user = asOther ? 'git' : userInfo().username;
  const port = await freePort(0);
  const host = newKey(join(directory, 'host'));
  const path = (name: string) => join(directory, name);
  writeFileSync(path('authorized_keys'), `${authorized.join('\n')}\n`);
  const { program, libraries, sessions } = programsFor(directory);
  writeFileSync(
    path('config'),
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${host.file}`,
      `AuthorizedKeysFile ${path('authorized_keys')}`,
      'PidFile none',
      'StrictModes no',
      'UsePAM no',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PrintMotd no',
      'LogLevel VERBOSE',
      `SetEnv PATH=${process.env.PATH ?? '/usr/bin:/bin'}`,
      `AcceptEnv ${options.accept ?? 'GIT_PROTOCOL'}`,
      ...sessions,
    ].join('\n'),
  );
  writeFileSync(path('passwd'), `${user}:x:${OTHER}:${OTHER}::${directory}:/bin/sh\n`);
  writeFileSync(path('group'), `${user}:x:${OTHER}:\n`);
  if (asOther) {
    execFileSync('chown', ['-R', `${OTHER}:${OTHER}`, directory, repositories]);
    chmodSync(directory, 0o755);
  }
  const child = spawn(program, ['-D', '-e', '-r', '-f', path('config')], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      LD_LIBRARY_PATH: libraries,
      ...(asOther
        ? {
            LD_PRELOAD: join(libraries, 'libnss_wrapper.so'),
            NSS_WRAPPER_PASSWD: path('passwd'),
            NSS_WRAPPER_GROUP: path('group'),
          }
        : {}),
    },
    ...(asOther ? { uid: OTHER, gid: OTHER } : {}),
  });
  let log = '';
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    log += text;
  });
  await listening(port, child, () => log);
  return {
    url: `ssh://${user}@127.0.0.1:${port}`,
    knownHost: `[127.0.0.1]:${port} ${host.publicKey}`,
    log: () => log,
    async stop() {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** Root's cache is closed to others: what runs as another user is copied to where that user gets. */
function programsFor(directory: string) {
  const program = SSHD ?? '';
  const own = join(directory, 'sshd-programs');
  mkdirSync(own);
  const from = (process.env.THROUGHLINE_TEST_SSHD_LIBRARIES ?? '').split(':').filter(Boolean);
  for (const library of from) {
    for (const name of readdirSync(library).filter((one) => one.includes('.so')))
      copyFileSync(join(library, name), join(own, name));
  }
  copyFileSync(program, join(own, 'sshd'));
  // OpenSSH 9.8 and later run a program of their own for each connection.
  const parts = { 'sshd-session': 'SshdSessionPath', 'sshd-auth': 'SshdAuthPath' };
  const sessions = Object.entries(parts).flatMap(([name, keyword]) => {
    const part = join(dirname(program), '../lib/openssh', name);
    if (!existsSync(part)) return [];
    copyFileSync(part, join(own, name));
    return [`${keyword} ${join(own, name)}`];
  });
  return { program: join(own, 'sshd'), libraries: own, sessions };
}

async function listening(port: number, child: ChildProcess, log: () => string): Promise<void> {
  for (let tries = 0; tries < 200; tries += 1) {
    if (child.exitCode !== null) break;
    const connected = await new Promise<boolean>((resolve) => {
      const socket = createConnection(port, '127.0.0.1', () => {
        socket.destroy();
        resolve(true);
      }).once('error', () => resolve(false));
    });
    if (connected) return;
    await sleep(50);
  }
  child.kill('SIGKILL');
  throw new Error(`sshd does not answer:\n${log()}`);
}
