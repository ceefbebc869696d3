// Credentials for programs that fetch a repository by themselves: what git would be given for its URL.
import { execFile } from 'node:child_process';
import { accessEnvironment } from './access.js';
import { joined } from './environment.js';
import { gitEnvironment } from './git.js';

/** The value of an Authorization header; undefined where git has no credentials for the URL. Never logged (I9). */
export async function authorizationFor(url: string, signal: AbortSignal): Promise<string | undefined> {
  const { protocol, host, pathname } = new URL(url);
  const question = `protocol=${protocol.slice(0, -1)}\nhost=${host}\npath=${pathname.slice(1)}\n\n`;
  const env = joined(gitEnvironment(), await accessEnvironment(url, signal));
  const answer = await new Promise<string>((resolve) => {
    // Where no helper knows, git would ask, may not, and fails: that is an answer too.
    const child = execFile(
      'git',
      ['credential', 'fill'],
      { env, timeout: 10_000, signal },
      (_error, stdout) => resolve(stdout),
    );
    child.stdin?.on('error', () => undefined).end(question);
  });
  const value = (name: string) => new RegExp(`^${name}=(.*)$`, 'm').exec(answer)?.[1];
  const [username, password] = [value('username'), value('password')];
  if (username === undefined || password === undefined) return undefined;
  return `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
}
