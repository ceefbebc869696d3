// People come first: what somebody holds, or has changed by hand since a release was asked for, the release leaves alone.
//
// A hold is the annotation `throughline.dev/hold` on the target, which everybody can see and set, or the trailer
// `Throughline-Hold` of a commit that touches it: a rollback by hand says so in the same breath. `throughline unhold` lifts
// both.
import { isDeepStrictEqual } from 'node:util';
import { ThroughlineError } from '../../domain/errors.js';
import type { CommitSha } from '../../domain/ids.js';
import { gitBytes, type Mirror } from '../../git/index.js';
import type { BranchLog } from './branch-log.js';
import type { DeployChange, GitOpsChange, GitOpsEdit, HoldChange } from './change.js';
import { CommitFiles } from './commit-files.js';
import { HOLD_TRAILER, ROLLBACK_TRAILER, type TargetName, UNHOLD_TRAILER } from './commit-message.js';
import { fieldsOf, filesOf, HOLD_ANNOTATION, holdOf } from './edit.js';

/** How far a history is searched for who changed our fields. */
const MAX_COMMITS = 50;

/** Of each change, the last release's commit where the target's file is not any more as that one left it. */
export async function touchedSince(
  mirror: Mirror,
  log: BranchLog,
  changes: readonly GitOpsChange[],
  files: CommitFiles,
  signal: AbortSignal,
): Promise<ReadonlyMap<GitOpsChange, CommitSha>> {
  const last = changes.flatMap((change) => {
    const commit = log.lastOf(change.message.model, change.message.environment);
    return commit ? [{ change, commit }] : [];
  });
  if (last.length === 0) return new Map();
  const names = last.map(({ change, commit }) => `${commit}:${change.manifest}`);
  // One process for all of them: a push is waiting. It reads no files, which a partial copy may lack.
  const resolve = async (...some: string[]) =>
    (await gitBytes(mirror.directory, ['rev-parse', ...some], '', signal))
      .toString('utf8')
      .trim()
      .split('\n');
  const objects = await resolve(...names).catch(() => oneByOne(names, resolve)); // a file was somewhere else then
  return new Map(
    last.flatMap(({ change, commit }, index): [GitOpsChange, CommitSha][] => {
      const same = objects[index] === files.objectOf(change.manifest);
      return same && !change.kustomize ? [] : [[change, commit]]; // a kustomization has other files besides
    }),
  );
}

async function oneByOne(
  names: readonly string[],
  resolve: (name: string) => Promise<readonly string[]>,
): Promise<(string | undefined)[]> {
  const objects: (string | undefined)[] = [];
  for (const name of names) objects.push((await resolve(name).catch(() => []))[0]);
  return objects;
}

/** Throws TL_TARGET_HELD where the target's files say that it is held. */
export async function refuseIfHeld(edit: GitOpsEdit, files: CommitFiles): Promise<void> {
  const mentioned: string[] = [];
  const read = async (path: string) => {
    const text = await files.read(path);
    if (text?.includes(HOLD_ANNOTATION)) mentioned.push(path);
    return text;
  };
  await read(edit.manifest);
  if (mentioned.length === 0 && !edit.kustomize) return;
  const hold = await holdOf(edit, read);
  if (hold !== undefined) throw held(hold, `${HOLD_ANNOTATION} in ${mentioned[0] ?? edit.manifest}`);
}

/**
 * Throws TL_TARGET_HELD where a commit since the last release holds the target, and TL_CHANGED_BY_HAND where one has changed
 * what the release would set, and is younger than its request.
 */
export async function refuseIfDecided(
  mirror: Mirror,
  { since, tip }: { readonly since: CommitSha; readonly tip: CommitSha },
  change: DeployChange,
  files: CommitFiles,
  signal: AbortSignal,
): Promise<void> {
  const commits = await commitsByHand(mirror, `${since}..${tip}`, change, files, signal);
  const hold = holdIn(commits, change.message);
  if (hold) throw held(hold.hold, `commit ${hold.commit.slice(0, 12)} by ${hold.author}`);
  const before = await CommitFiles.of(mirror, since, [change.manifest], signal);
  if (isDeepStrictEqual(await said(change, before), await said(change, files))) return;
  for (const one of commits) {
    if (Date.parse(one.at) <= Date.parse(change.message.requestedAt)) return;
    const [after, parent] = await Promise.all(
      [one.commit, `${one.commit}~1`].map(async (revision) =>
        said(change, await CommitFiles.of(mirror, revision as CommitSha, [change.manifest], signal)),
      ),
    );
    if (isDeepStrictEqual(after, parent)) continue;
    throw new ThroughlineError(
      'TL_CHANGED_BY_HAND',
      `Somebody changed ${change.message.model} in ${change.message.environment} by hand after the release was asked for`,
      {
        found: `commit ${one.commit.slice(0, 12)} of ${one.at} by ${one.author}: ${one.subject}`,
        expected: `nothing by hand since ${change.message.requestedAt}`,
      },
    );
  }
}

/** Whether a commit holds the target, and none has lifted that. */
export async function isHeldByCommit(
  mirror: Mirror,
  range: { readonly since: CommitSha; readonly tip: CommitSha },
  change: HoldChange,
  files: CommitFiles,
  signal: AbortSignal,
): Promise<boolean> {
  const commits = await commitsByHand(mirror, `${range.since}..${range.tip}`, change, files, signal);
  return holdIn(commits, change.message) !== undefined;
}

interface CommitByHand {
  readonly commit: string;
  readonly at: string;
  readonly author: string;
  readonly subject: string;
  readonly hold: string;
  readonly unhold: string;
  readonly model: string;
  readonly environment: string;
}

/** Commits of no release, the newest first: those that touched the target's files, and those that lift a hold. */
async function commitsByHand(
  mirror: Mirror,
  range: string,
  edit: GitOpsEdit,
  files: CommitFiles,
  signal: AbortSignal,
): Promise<readonly CommitByHand[]> {
  const paths = await filesOf(edit, (path) => files.read(path)).catch(() => [edit.manifest]);
  const trailer = (name: string) => `%(trailers:key=${name},valueonly,separator=%x20)`;
  const trailers = ['Release-Id', ROLLBACK_TRAILER, HOLD_TRAILER, UNHOLD_TRAILER, 'Model', 'Environment'].map(
    trailer,
  );
  const format = `--format=%x1e${['%H', '%cI', '%an', '%s', ...trailers].join('%x1f')}`;
  const log = async (...parameters: string[]) => {
    const words = ['--literal-pathspecs', 'log', `--max-count=${MAX_COMMITS}`, format, ...parameters];
    return (await gitBytes(mirror.directory, words, '', signal)).toString('utf8').split('\x1e').slice(1);
  };
  const touching = await log(range, '--', ...paths);
  const lifting = touching.some((record) => record.includes('\x1f'))
    ? await log('--fixed-strings', `--grep=${UNHOLD_TRAILER}: `, range)
    : [];
  const parse = (record: string): CommitByHand[] => {
    const fields = record.trimEnd().split('\x1f');
    const [commit = '', at = '', author = '', subject = '', release, rollback, hold = '', unhold = ''] =
      fields;
    const [, , , , , , , , model = '', environment = ''] = fields;
    return release === '' && rollback === ''
      ? [{ commit, at, author, subject, hold, unhold, model, environment }]
      : [];
  };
  const known = new Map([...touching, ...lifting].flatMap(parse).map((one) => [one.commit, one]));
  return [...known.values()].sort((a, b) => Date.parse(b.at) - Date.parse(a.at));
}

function holdIn(commits: readonly CommitByHand[], target: TargetName): CommitByHand | undefined {
  const named = ({ model, environment }: CommitByHand) =>
    (model === '' || model === target.model) && (environment === '' || environment === target.environment);
  const last = commits.find((one) => (one.hold !== '' || one.unhold !== '') && named(one));
  return last?.unhold === '' ? last : undefined;
}

/** What our fields say; undefined where they cannot be read. */
async function said(edit: GitOpsEdit, files: CommitFiles): Promise<unknown> {
  return fieldsOf(edit, (path) => files.read(path)).catch(() => undefined);
}

function held(reason: string, where: string): ThroughlineError {
  return new ThroughlineError('TL_TARGET_HELD', `The target is held: ${reason}`, { found: where });
}
