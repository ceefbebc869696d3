// The ssh that git runs for a configured key: that key and the pinned keys of the host, and nothing else that the
// machine knows. A host whose key is another one is refused, whatever it says.
import { mkdtempSync, rmSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256Hex } from '../domain/ids.js';

/** Seconds until a host that does not answer, or says nothing more, is given up. */
const CONNECT_SECONDS = 20;
const SILENCE_SECONDS = 15;

export interface SshAccess {
  readonly sshKey: string;
  readonly knownHosts: string | readonly string[];
}

/** What GIT_SSH_COMMAND has to be. git gives it to a shell, and ssh reads the values of its options by rules of its own. */
export async function sshCommand({ sshKey, knownHosts }: SshAccess): Promise<string> {
  const hosts = typeof knownHosts === 'string' ? knownHosts : await fileOf(knownHosts);
  const options = [
    'BatchMode=yes',
    'StrictHostKeyChecking=yes',
    `UserKnownHostsFile=${sshQuoted(hosts)}`,
    'GlobalKnownHostsFile=/dev/null',
    'UpdateHostKeys=no',
    'VerifyHostKeyDNS=no',
    'CheckHostIP=no',
    `IdentityFile=${sshQuoted(sshKey)}`,
    'IdentitiesOnly=yes',
    'IdentityAgent=none',
    'PreferredAuthentications=publickey',
    'ForwardAgent=no',
    `ConnectTimeout=${CONNECT_SECONDS}`,
    `ServerAliveInterval=${SILENCE_SECONDS}`,
  ];
  // Without anybody's ssh_config: it could name other keys, other hosts and programs.
  return ['ssh', '-F', 'none', '-T', ...options.flatMap((option) => ['-o', shellQuoted(option)])].join(' ');
}

const shellQuoted = (text: string) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

/** ssh_config(5): arguments may be quoted, and % begins a token. The configuration lets no quotes and no $ through. */
const sshQuoted = (path: string) => `"${path.replaceAll('%', '%%')}"`;

let scratch: string | undefined;
const written = new Map<string, Promise<string>>();

/** Lines that stand in the configuration, as the file that ssh wants; in a directory that nobody else can have made. */
function fileOf(lines: readonly string[]): Promise<string> {
  if (scratch === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'throughline-ssh-'));
    scratch = made;
    process.once('exit', () => rmSync(made, { recursive: true, force: true }));
  }
  const text = `${lines.join('\n')}\n`;
  const path = join(scratch, sha256Hex(text).slice(0, 16));
  const file = written.get(path) ?? writeFile(path, text, { mode: 0o600 }).then(() => path);
  written.set(path, file);
  return file;
}
