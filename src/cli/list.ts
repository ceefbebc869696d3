import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ListFilter } from '../releases/service.js';
import { describeList } from './describe.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { print, printJson } from './output.js';

interface ListOptions extends ClientOptions {
  readonly model?: string;
  readonly status?: ListFilter['status'];
  readonly trace?: string;
  readonly limit: number;
}

export function listCommand(program: Command): void {
  withClient(program.command('list'))
    .description('list releases, newest first')
    .option('--model <name>', 'of this model only')
    .addOption(
      new Option('--status <status>', 'of this status only').choices([
        'RUNNING',
        'SUCCEEDED',
        'REJECTED',
        'FAILED',
        'CANCELED',
        'SUPERSEDED',
      ]),
    )
    .option('--trace <id>', 'of this trace only')
    .option('--limit <count>', 'how many at most', positiveInteger, 20)
    .action(async (options: ListOptions) => {
      const { model, status, trace, limit } = options;
      const found = await withReleases(options, (releases) =>
        releases.list({ model, status, traceId: trace, limit }),
      );
      if (options.json) printJson({ releases: found });
      else print(describeList(found));
    });
}

function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 10_000)
    throw new InvalidArgumentError('expected a number from 1 to 10000');
  return value;
}
