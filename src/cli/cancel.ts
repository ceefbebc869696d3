import type { Command } from 'commander';
import { ThroughlineError } from '../domain/errors.js';
import { describeRelease } from './describe.js';
import { follow } from './follow.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { print, printJson, say } from './output.js';

interface CancelOptions extends ClientOptions {
  readonly wait?: boolean;
}

export function cancelCommand(program: Command): void {
  withClient(program.command('cancel'))
    .description('end a release; what it started is stopped')
    .argument('<release>', 'id of the release')
    .option('--wait', 'wait until nothing of it runs any more')
    .action(async (id: string, options: CancelOptions) => {
      await withReleases(options, async (releases) => {
        if (!(await releases.cancel(id))) {
          throw new ThroughlineError('TL_RELEASE_NOT_FOUND', `There is no release ${JSON.stringify(id)}`);
        }
        if (!options.wait) {
          if (options.json) printJson({ id, status: 'CANCELING' });
          else print(`${id} is being canceled`);
          return;
        }
        const view = await follow(releases, id, say);
        if (options.json) printJson(view.record);
        else print(describeRelease(view));
      });
    });
}
