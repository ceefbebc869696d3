import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ListFilter, ReleaseSummary } from '../releases/service.js';
import { describeList } from './describe.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { print, printJson } from './output.js';

/** Releases that are asked for at once. */
const PAGE = 500;

interface ListOptions extends ClientOptions {
  readonly model?: string;
  readonly status?: ListFilter['status'];
  readonly environment?: string;
  readonly trace?: string;
  readonly execution?: string;
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
    .option('--environment <name>', 'that deploy there')
    .option('--trace <id>', 'of this trace only')
    .option('--execution <id>', 'of this execution of Spinnaker')
    .option('--limit <count>', 'how many at most', positiveInteger, 20)
    .action(async (options: ListOptions) => {
      const { model, status, environment, trace, execution, limit } = options;
      const filter = { model, status, environment, traceId: trace, execution };
      const found = await withReleases(options, async (releases) => {
        const all: ReleaseSummary[] = [];
        let cursor: string | undefined;
        do {
          const page = await releases.list({ ...filter, limit: Math.min(PAGE, limit - all.length), cursor });
          all.push(...page.releases);
          cursor = page.cursor;
        } while (cursor !== undefined && all.length < limit);
        return all;
      });
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
