// The ssh that git runs for a configured key: that key and the pinned keys of the host, and nothing else that the
// machine knows. A host whose key is another one is refused, whatever it says.
import { lstat, mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ThroughlineError } from '../domain/errors.js';
import { sha256Hex } from '../domain/ids.js';
import { exists, writeAtomically } from '../processes/index.js';

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

/** Lines that stand in the configuration, as the file that ssh wants. Every process of this user has the same, and rewrites it where it has gone. */
async function fileOf(lines: readonly string[]): Promise<string> {
  const directory = join(tmpdir(), `throughline-ssh-${process.getuid?.()}`);
  await mkdir(directory, { mode: 0o700 }).catch(() => undefined);
  const { uid, mode } = await lstat(directory);
  // Whoever else can write there says which hosts are believed.
  if (uid !== process.getuid?.() || (mode & 0o170_777) !== 0o040_700) {
    throw new ThroughlineError('TL_CONFIG_INVALID', `${directory} is not a directory of this user alone`, {
      expected: 'mode 0700, and no link',
      hint: 'Remove it; or name a file in `knownHosts`.',
    });
  }
  const text = `${lines.join('\n')}\n`;
  const file = join(directory, sha256Hex(text));
  if (!(await exists(file))) await writeAtomically(file, text);
  return file;
}
