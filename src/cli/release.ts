import type { Command } from 'commander';
import { ThroughlineError } from '../domain/errors.js';
import { parseTrigger } from '../releases/request.js';
import { printStarted } from './follow.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { say } from './output.js';

interface ReleaseOptions extends ClientOptions {
  readonly ref?: string;
  readonly plan?: string;
  readonly parameter?: string[];
  readonly key?: string;
  readonly traceparent?: string;
  readonly wait?: boolean;
}

export function releaseCommand(program: Command): void {
  withClient(program.command('release'))
    .description('start a release of a model repository')
    .argument('<repository>', 'URL or absolute path of the model’s git repository')
    .option('--ref <ref>', 'branch, tag or commit (default: the default branch)')
    .option('--plan <path>', 'path of the plan in the repository')
    .option('-p, --parameter <NAME=VALUE...>', 'override a parameter of the plan')
    .option('--key <key>', 'idempotency key: repeating it returns the same release')
    .option('--traceparent <traceparent>', 'join this trace (default: TRACEPARENT)')
    .option('--wait', 'follow the release to its end')
    .action(async (repository: string, options: ReleaseOptions) => {
      const trigger = parseTrigger(
        {
          repository,
          ...(options.ref === undefined ? {} : { ref: options.ref }),
          ...(options.plan === undefined ? {} : { plan: options.plan }),
          parameters: parseParameters(options.parameter ?? []),
        },
        {
          at: new Date(),
          idempotencyKey: options.key,
          traceparent: options.traceparent ?? process.env.TRACEPARENT,
          tracestate: process.env.TRACESTATE,
          baggage: process.env.BAGGAGE,
          requestedBy: process.env.USER,
        },
      );
      process.exitCode = await withReleases(options, async (releases) => {
        const started = await releases.start(trigger);
        say(`${started.created ? 'started' : 'found'} ${started.release}, trace ${started.traceId}`);
        return printStarted(releases, started, options);
      });
    });
}

function parseParameters(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const split = text.indexOf('=');
      if (split < 1) {
        throw new ThroughlineError('TL_REQUEST_INVALID', 'A parameter is not of the form NAME=VALUE', {
          found: text,
        });
      }
      return [text.slice(0, split), text.slice(split + 1)];
    }),
  );
}
