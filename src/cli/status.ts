import type { Command } from 'commander';
import { describeProgress } from '../gateway/present.js';
import { describeRelease } from './describe.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { print, printJson } from './output.js';

export function statusCommand(program: Command): void {
  withClient(program.command('status'))
    .description('show a release: its stages, what it waits for, everything it made')
    .argument('<release>', 'id of the release')
    .action(async (id: string, options: ClientOptions) => {
      const view = await withReleases(options, (releases) => releases.get(id));
      if (options.json) {
        const { record, pending, note } = view;
        printJson({ ...record, progress: describeProgress(record, pending), pending, note });
      } else print(describeRelease(view));
    });
}
