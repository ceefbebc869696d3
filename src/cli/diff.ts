import type { Command } from 'commander';
import { parseCommitSha } from '../domain/ids.js';
import { Mirror } from '../git/index.js';
import type { ReleaseAnswer } from '../lineage/index.js';
import {
  type CommitLog,
  differenceOf,
  differenceText,
  type LayerChange,
  layerChange,
} from '../lineage/index.js';
import { cacheDirectory, gitCacheOf } from '../worker/config.js';
import { evidenceStore } from './evidence.js';
import { print, printJson, say } from './output.js';
import { onlyRelease, type StoreOptions, withReader, withStore } from './store.js';

export function diffCommand(program: Command): void {
  withStore(program.command('diff'))
    .description('what changed between two releases: commits, dataset, parameters, metrics, image, times')
    .argument('<release>', 'the one before: its id, or any other that is its alone')
    .argument('<release>', 'the one after')
    .option('--no-log', 'leave the log of commits out: it is read from the model’s repository')
    .option('--no-layers', 'leave the layers of the images out: they are read from the registry')
    .action((before: string, after: string, options: StoreOptions & { log: boolean; layers: boolean }) =>
      withReader(options, async (reader) => {
        const [a, b] = [await onlyRelease(reader, before), await onlyRelease(reader, after)];
        const difference = differenceOf(a, b);
        const log = options.log ? await logOf(a, b) : undefined;
        const layers = options.layers ? await layersOf(a, b) : undefined;
        if (options.json) printJson({ ...difference, log: log ?? null, layers: layers ?? null });
        else print(differenceText(difference, log, layers));
      }),
    );
}

/** A repository that cannot be read takes nothing else from the answer. */
async function logOf(a: ReleaseAnswer, b: ReleaseAnswer): Promise<CommitLog> {
  if (!a.commit || !b.commit || a.commit === b.commit || a.repository !== b.repository) return undefined;
  try {
    const mirror = await Mirror.open(gitCacheOf(cacheDirectory()), b.repository);
    const [from, to] = [parseCommitSha(a.commit), parseCommitSha(b.commit)] as const;
    for (const commit of [from, to])
      if (!(await mirror.has(commit))) throw new Error(`it has no commit ${commit}`);
    return { added: await mirror.log(from, to), removed: await mirror.log(to, from) };
  } catch (error) {
    say(`The log of ${b.repository} cannot be read: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}

async function layersOf(a: ReleaseAnswer, b: ReleaseAnswer): Promise<LayerChange> {
  const [from, to] = [a, b].map(({ image, imageDigest }) =>
    image && imageDigest ? `${image}@${imageDigest}` : '',
  );
  if (!from || !to || from === to) return undefined;
  try {
    const registry = evidenceStore();
    const [before, after] = [await registry.of(from), await registry.of(to)];
    return before && after && layerChange(before.layers, after.layers);
  } catch (error) {
    say(`The layers of the images cannot be read: ${error instanceof Error ? error.message : error}`);
    return undefined;
  }
}
