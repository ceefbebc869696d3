// `throughline rollback`, `hold` and `unhold`: over a gateway, which knows who somebody is by their token; or to Temporal and
// the writer of the branch, which believe whoever may reach them.
import { userInfo } from 'node:os';
import type { Command } from 'commander';
import { ThroughlineError } from '../domain/errors.js';
import type { ReleaseService, StartedRelease } from '../releases/service.js';
import { type HeldTarget, TargetService } from '../releases/targets.js';
import { createLogger } from '../telemetry/log.js';
import { printStarted } from './follow.js';
import { type GatewayAccess, gatewayOptions, requestJson } from './gateway-client.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { print, printJson, say } from './output.js';

interface TargetOptions extends ClientOptions, GatewayAccess {
  readonly environment: string;
  readonly reason?: string;
}

interface RollbackOptions extends TargetOptions {
  readonly to?: string;
  readonly key?: string;
  readonly wait?: boolean;
}

const target = (program: Command, name: string) =>
  gatewayOptions(withClient(program.command(name)))
    .argument('<model>', 'the model’s name, as its plan has it')
    .requiredOption('--environment <name>', 'where');

export function rollbackCommand(program: Command): void {
  target(program, 'rollback')
    .description('bring back what an environment ran before')
    .option('--to <release>', 'this release (default: the last one before that succeeded)')
    .option('--reason <text>', 'why: it stands in the commit and in the lineage')
    .option('--key <key>', 'idempotency key: repeating it returns the same release')
    .option('--wait', 'follow the rollback to its end')
    .action(async (model: string, options: RollbackOptions) => {
      const { environment, to, reason, key } = options;
      const body = { model, environment, ...given({ to, reason, idempotencyKey: key }) };
      if (options.gateway) {
        if (options.wait) {
          throw new ThroughlineError('TL_REQUEST_INVALID', '--wait follows a release through Temporal', {
            hint: 'Leave --gateway out, or follow it with: throughline watch RELEASE --gateway URL',
          });
        }
        const started = await requestJson<StartedRelease & { id: string }>(options, '/v1/rollbacks', body);
        if (options.json) printJson(started);
        else print(started.id);
        return;
      }
      process.exitCode = await withTargets(options, async (targets, releases) => {
        const parsed = await targets.rollback(body, {
          at: new Date(),
          traceparent: process.env.TRACEPARENT,
          tracestate: process.env.TRACESTATE,
          baggage: process.env.BAGGAGE,
          requestedBy: process.env.USER,
        });
        const started = await releases.start(parsed);
        const { rollback } = parsed.request;
        say(
          `${started.created ? 'started' : 'found'} ${started.release}: ${environment} from ${rollback?.from.release} back to ${rollback?.to.release}`,
        );
        return printStarted(releases, started, options);
      });
    });
}

const holding = (held: boolean) => (program: Command) => {
  const command = target(program, held ? 'hold' : 'unhold').description(
    held ? 'keep releases away from an environment' : 'let releases into an environment again',
  );
  if (held) command.requiredOption('--reason <text>', 'why: whoever wants to release there reads it');
  else command.option('--reason <text>', 'why: it stands in the commit');
  command.action(async (model: string, options: TargetOptions) => {
    const { environment, reason } = options;
    const body = { model, environment, held, ...given({ reason }) };
    const done = options.gateway
      ? await requestJson<HeldTarget>(options, '/v1/holds', body)
      : await withTargets(options, (targets) => targets.hold(body, userInfo().username));
    if (options.json) printJson(done);
    else
      print(
        `${model} in ${environment} is ${held ? 'held' : 'held no longer'}: GitOps commit ${done.commit}`,
      );
  });
};

export const holdCommand = holding(true);
export const unholdCommand = holding(false);

function withTargets<T>(
  options: TargetOptions,
  run: (targets: TargetService, releases: ReleaseService) => Promise<T>,
): Promise<T> {
  return withReleases(options, async (releases) => {
    const targets = new TargetService(releases, createLogger('throughline-cli', 'warn'));
    try {
      return await run(targets, releases);
    } finally {
      targets.close();
    }
  });
}

function given<Values extends Record<string, string | undefined>>(values: Values): Partial<Values> {
  return Object.fromEntries(
    Object.entries(values).filter(([, value]) => value !== undefined),
  ) as Partial<Values>;
}
