// `throughline approve` and `throughline reject`: over a gateway, which knows who somebody is by their token; or to Temporal
// itself, which believes whoever may reach it.
import { userInfo } from 'node:os';
import { type Command, Option } from 'commander';
import type { ApprovalRecord } from '../domain/approval.js';
import { ThroughlineError } from '../domain/errors.js';
import { type GatewayAccess, gatewayOptions, requestJson } from './gateway-client.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { print, printJson } from './output.js';

interface DecideOptions extends ClientOptions, GatewayAccess {
  readonly comment?: string;
  readonly environment?: string;
  readonly as?: string;
}

const VERBS = {
  approve: { decision: 'approved', says: 'let a release go into the environment that waits for it' },
  reject: { decision: 'refused', says: 'refuse it: the release ends REJECTED' },
} as const;

const decideCommand = (verb: keyof typeof VERBS) => (program: Command) => {
  const { decision, says } = VERBS[verb];
  gatewayOptions(withClient(program.command(verb)))
    .description(says)
    .argument('<release>', 'id of the release')
    .option('--comment <text>', 'why')
    .option('--environment <name>', 'of this environment only')
    .addOption(new Option('--as <name>', 'who decides, where no gateway knows it').env('USER'))
    .action(async (id: string, options: DecideOptions) => {
      const { comment, environment } = options;
      const made = options.gateway
        ? await requestJson<ApprovalRecord>(options, `/v1/releases/${encodeURIComponent(id)}/${verb}`, {
            ...(comment === undefined ? {} : { comment }),
            ...(environment === undefined ? {} : { environment }),
          })
        : await withReleases(options, (releases) =>
            releases.decide(id, { decision, by: who(options), comment, environment }),
          );
      if (options.json) printJson({ ...made, id });
      else print(`${made.environment}: ${made.decision} by ${made.by}`);
    });
};

export const approveCommand = decideCommand('approve');
export const rejectCommand = decideCommand('reject');

function who({ as }: DecideOptions): string {
  const name = as ?? userInfo().username;
  if (/^[^\0-\x1f\x7f]{1,200}$/.test(name)) return name;
  throw new ThroughlineError('TL_REQUEST_INVALID', 'The name of whoever decides is not usable', {
    expected: 'text without control characters',
  });
}
