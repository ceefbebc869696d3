// The GitOps writer survives its own death: killed at random and at each of its steps, while others edit the same files, it
// leaves the branch as if nothing had happened. `npm run chaos -- gitops --kills 200` for many kills.
import { execFileSync, spawn } from 'node:child_process';
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { deployedIn } from '../../src/activities/gitops/manifest.js';
import type { DeploymentChange } from '../../src/activities/index.js';
import type { Problem } from '../../src/domain/errors.js';
import { applications, deploymentOf, fileOf, pathOf } from '../support/gitops.js';
import { random } from '../support/random.js';
import { git, temporaryDirectory } from '../support/world.js';

const KILLS = Number(process.env.GITOPS_KILLS ?? 5);
const SEED = Number(process.env.GITOPS_SEED ?? 7);
const WRITER = fileURLToPath(new URL('../support/gitops-writer.mjs', import.meta.url));
const APPS = 6;
/** Of a writer after its first word. Milliseconds. */
const LONGEST_MS = 500;

type Answer = { readonly commit: string } | { readonly refused: Problem };

let directory: string;
let bare: string;
let repository: string;
beforeEach(() => {
  directory = temporaryDirectory('gitops-kills');
  bare = join(directory, 'gitops.git');
  repository = applications(bare, 40);
});
afterEach(() => rmSync(directory, { recursive: true, force: true, maxRetries: 10 }));

/** Lets a writer write, for so long. Gives its answers, where it came to that. */
async function write(
  changes: readonly DeploymentChange[],
  milliseconds: number | undefined,
  env: NodeJS.ProcessEnv = {},
): Promise<readonly Answer[] | undefined> {
  const file = join(directory, 'changes.json');
  writeFileSync(file, JSON.stringify(changes));
  const child = spawn(process.execPath, [WRITER, join(directory, 'cache'), file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, ...env },
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  let answers: readonly Answer[] | undefined;
  const read = new Promise<void>((resolve) => {
    createInterface({ input: child.stdout })
      .on('line', (line) => {
        if (line !== 'begun') answers = JSON.parse(line) as Answer[];
        else if (milliseconds !== undefined) void sleep(milliseconds).then(() => child.kill('SIGKILL'));
      })
      .once('close', resolve);
  });
  await Promise.all([gone, read]);
  return answers;
}

/** What is on the branch of releases, oldest first. */
function history(): {
  commit: string;
  release: string;
  model: string;
  requestedAt: string;
  files: string[];
}[] {
  const key = (name: string) => `%(trailers:key=${name},valueonly,separator=)`;
  const format = ['%H', key('Release-Id'), key('Model'), key('Requested-At')].join('%x1f');
  return git(bare, 'log', '--reverse', '--name-only', `--format=%x1e${format}%x1f`, 'main')
    .split('\x1e')
    .slice(1)
    .map((record) => {
      const [commit = '', release = '', model = '', requestedAt = '', files = ''] = record.split('\x1f');
      return { commit, release, model, requestedAt, files: files.split('\n').filter(Boolean) };
    });
}

/** Somebody changes lines of a manifest that are not ours, or adds a file. */
class Others {
  private readonly work = join(directory, 'others');
  readonly replicas = new Map<string, number>();
  readonly files: string[] = [];
  private count = 0;

  constructor(private readonly next: () => number) {
    git(directory, 'clone', '--quiet', bare, this.work);
  }

  edit(): void {
    this.count += 1;
    const app = `app-${Math.floor(this.next() * APPS)}`;
    for (;;) {
      git(this.work, 'pull', '--quiet', '--rebase', 'origin', 'main');
      if (this.next() < 0.7) {
        const path = join(this.work, pathOf(app));
        writeFileSync(path, readFileSync(path, 'utf8').replace(/replicas: \d+/, `replicas: ${this.count}`));
        this.replicas.set(app, this.count);
      } else {
        mkdirSync(join(this.work, 'others'), { recursive: true });
        writeFileSync(join(this.work, 'others', `${this.count}`), 'theirs\n');
        this.files.push(`others/${this.count}`);
      }
      git(this.work, 'add', '--all');
      git(this.work, 'commit', '--quiet', '--allow-empty', '--message', `Theirs ${this.count}`);
      try {
        git(this.work, 'push', '--quiet', 'origin', 'HEAD:main');
        return;
      } catch {
        git(this.work, 'reset', '--quiet', '--hard', 'HEAD~1');
        this.files.splice(
          0,
          this.files.length,
          ...this.files.filter((file) => file !== `others/${this.count}`),
        );
      }
    }
  }
}

describe('the GitOps writer', () => {
  it(`I3, I4: killed ${KILLS} times at random, it loses, doubles and adds nothing`, {
    timeout: 3_600_000,
  }, async () => {
    const next = random(SEED);
    const others = new Others(next);
    const asked: DeploymentChange[] = [];
    const answered = new Map<string, Answer>();
    let kills = 0;
    while (kills < KILLS || asked.some(({ release }) => !answered.has(release))) {
      // New releases, in no order of their requests; and those that have had no answer ask again.
      for (let count = kills < KILLS ? Math.floor(next() * 5) : 0; count > 0; count -= 1) {
        const requestedAt = new Date(Date.UTC(2026, 0, 1) + Math.floor(next() * 1e7) * 1000).toISOString();
        const app = `app-${Math.floor(next() * APPS)}`;
        const release = `rel-${asked.length}`;
        asked.push(deploymentOf(repository, app, release, { requestedAt, committedAt: requestedAt }));
      }
      const due = asked.filter(({ release }) => !answered.has(release));
      // Now and then one that is written asks again: its answer was lost.
      const again = asked.filter(({ release }) => answered.has(release) && next() < 0.1);
      const changes = [...due, ...again].sort((a, b) => a.requestedAt.localeCompare(b.requestedAt));
      if (changes.length === 0) continue;
      const writing = write(changes, kills < KILLS ? next() * LONGEST_MS : undefined);
      for (let edits = Math.floor(next() * 3); edits > 0; edits -= 1) {
        await sleep(next() * 150);
        others.edit();
      }
      const answers = await writing;
      if (!answers) kills += 1;
      if (!answers && kills % 20 === 0)
        console.log(`${kills} of ${KILLS} kills, ${answered.size} of ${asked.length} releases answered`);
      answers?.forEach((answer, index) => {
        const { release } = changes[index] as DeploymentChange;
        const before = answered.get(release);
        if (before && 'commit' in before) expect(answer).toEqual(before);
        answered.set(release, answer);
      });
    }

    const made = history().filter(({ release }) => release !== '');
    const byRelease = new Map(made.map((one) => [one.release, one]));
    expect(byRelease.size).toBe(made.length); // none doubled
    for (const { release } of asked) {
      const answer = answered.get(release);
      if (answer && 'commit' in answer)
        expect(byRelease.get(release)?.commit).toBe(answer.commit); // none lost
      else {
        expect(answer?.refused.code).toBe('TL_RELEASE_SUPERSEDED');
        expect(byRelease.has(release)).toBe(false); // none written that was refused
      }
    }
    expect(made.length).toBeGreaterThan(Math.min(KILLS, 5));
    for (let index = 0; index < APPS; index += 1) {
      const app = `app-${index}`;
      const ours = made.filter(({ model }) => model === app);
      // I4: what lands is never older than what has landed.
      expect(ours.map(({ requestedAt }) => requestedAt)).toEqual(
        ours.map(({ requestedAt }) => requestedAt).sort(),
      );
      for (const { files } of ours) expect(files).toEqual([pathOf(app)]);
      const text = fileOf(bare, pathOf(app));
      const [deployed] = deployedIn(text);
      const last = asked.find(({ release }) => release === ours.at(-1)?.release);
      if (last) expect(deployed).toMatchObject({ release: last.release, digests: [last.imageDigest] });
      expect(text).toContain(`replicas: ${others.replicas.get(app) ?? 2}\n`);
      expect(text).toContain('team: ml # asked for by finance\n');
    }
    // Of what nobody asked for, nothing has changed.
    const touched = git(
      bare,
      'diff',
      '--name-only',
      `${git(bare, 'rev-list', '--max-parents=0', 'main').trim()}..main`,
    )
      .split('\n')
      .filter(Boolean);
    const known = new Set([
      ...Array.from({ length: APPS }, (_, index) => pathOf(`app-${index}`)),
      ...others.files,
    ]);
    expect(touched.filter((file) => !known.has(file))).toEqual([]);
    expect(others.files.filter((file) => !touched.includes(file))).toEqual([]);
  });

  it.each(['before', 'after'] as const)(
    'I3: killed %s each of its git commands, it makes one commit a release',
    { timeout: 300_000 },
    async (when) => {
      const real = execFileSync('which', ['git'], { encoding: 'utf8' }).trim();
      const bin = join(directory, 'bin');
      mkdirSync(bin);
      const count = join(directory, 'count');
      const kill = join(directory, 'kill'); // a file, because git's environment has nothing that it does not need
      // git, which kills whoever calls it at the n-th call.
      writeFileSync(
        join(bin, 'git'),
        `#!/bin/sh
case "$(readlink /proc/$PPID/exe)" in *node*) ;; *) exec ${real} "$@" ;; esac
n=$(($(cat ${count}) + 1)); echo $n > ${count}
if [ ${when} = before ] && [ $n = "$(cat ${kill})" ]; then kill -9 $PPID; exit 1; fi
${real} "$@"; status=$?
if [ ${when} = after ] && [ $n = "$(cat ${kill})" ]; then kill -9 $PPID; fi
exit $status
`,
      );
      chmodSync(join(bin, 'git'), 0o755);
      const env = { PATH: `${bin}:${process.env.PATH}` };
      let steps = 0;
      for (let at = 1; ; at += 1) {
        const changes = ['a', 'b'].map((one, index) =>
          deploymentOf(repository, `app-${index}`, `rel-${at}-${one}`, {
            requestedAt: new Date(Date.UTC(2026, 0, at)).toISOString(),
          }),
        );
        writeFileSync(count, '0\n');
        writeFileSync(kill, `${at}\n`);
        const answers = await write(changes, undefined, env);
        const again = answers ?? (await write(changes, undefined));
        expect(again?.every((answer) => 'commit' in answer)).toBe(true);
        const made = history().filter(({ release }) => release.startsWith(`rel-${at}-`));
        expect(made.map(({ release }) => release)).toEqual(changes.map(({ release }) => release));
        if (answers) break; // it has fewer steps than that
        steps += 1;
      }
      expect(steps).toBeGreaterThanOrEqual(6);
    },
  );
});
