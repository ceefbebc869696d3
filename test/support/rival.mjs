// rival.mjs REPOSITORY DIRECTORY MILLISECONDS: pushes a commit with a file of its own every so often, as a person's git
// does. Prints the file's name when the server has it. Ends on SIGTERM, after the push that is under way.
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const [repository, directory, every] = process.argv.slice(2);
const run = promisify(execFile);
const git = (...parameters) =>
  run(
    'git',
    ['-c', 'user.name=Rival', '-c', 'user.email=rival@localhost', '-c', 'gc.auto=0', ...parameters],
    {
      cwd: directory,
    },
  );

let ending = false;
process.on('SIGTERM', () => {
  ending = true;
});
mkdirSync(directory, { recursive: true });
await git('clone', '--quiet', '--sparse', '--depth', '1', '--no-single-branch', repository, '.');
await git('sparse-checkout', 'set', 'rival');
mkdirSync(`${directory}/rival`, { recursive: true });
for (let count = 0; !ending; count += 1) {
  const begun = Date.now();
  const name = `rival/${String(count).padStart(5, '0')}`;
  writeFileSync(`${directory}/${name}`, `${count}\n`);
  await git('add', '--sparse', name);
  await git('commit', '--quiet', '--message', `Theirs ${count}`);
  for (;;) {
    const pushed = await git('push', '--quiet', 'origin', 'HEAD:main').then(
      () => true,
      () => false,
    );
    if (pushed) break;
    await git('pull', '--quiet', '--rebase', 'origin', 'main');
  }
  console.log(name);
  await sleep(Math.max(0, Number(every) - (Date.now() - begun)));
}
