import type { Command } from 'commander';
import { impactText } from '../lineage/index.js';
import { print, printJson } from './output.js';
import { type StoreOptions, withReader, withStore } from './store.js';

export function impactCommand(program: Command): void {
  withStore(program.command('impact'))
    .description('what descends from a dataset, commit, model or image, and what of it is served')
    .argument('<id>', 'dataset:NAME@VERSION, a commit, a model, an image; as for `lineage`')
    .action((id: string, options: StoreOptions) =>
      withReader(options, async (reader) => {
        const found = await reader.impact(id);
        if (options.json) printJson(found);
        else print(impactText(found));
      }),
    );
}
