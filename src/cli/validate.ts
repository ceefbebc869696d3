import { stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { ThroughlineError } from '../domain/errors.js';
import { CHECK_KINDS } from '../domain/verification.js';
import {
  DEFAULT_PLAN_PATH,
  directoryFiles,
  formatDuration,
  loadPlan,
  planJsonSchema,
  type VerifyCheck,
} from '../plan/index.js';
import { planViolations, readConfiguration } from '../policy/index.js';
import { withJson } from './options.js';
import { print, printJson } from './output.js';

export function validateCommand(program: Command): void {
  withJson(program.command('validate'))
    .description('check a plan, and that what it names is there')
    .argument('[path]', 'the plan, or its directory', '.')
    .addOption(
      new Option('--config <file>', 'hold it to what this server’s configuration allows').env(
        'THROUGHLINE_CONFIG',
      ),
    )
    .action(async (path: string, options: { json?: boolean; config?: string }) => {
      const { allow } = await readConfiguration(options.config);
      const file = await planFile(resolve(path));
      const { plan } = await loadPlan(directoryFiles(dirname(file)), basename(file), (given, job) =>
        planViolations(allow, given, job, undefined),
      );
      if (options.json) return printJson({ valid: true, plan });
      const gate = plan.evaluate.accept.map(({ metric, atLeast, atMost }) =>
        [metric, atLeast === undefined ? '' : `≥ ${atLeast}`, atMost === undefined ? '' : `≤ ${atMost}`]
          .filter(Boolean)
          .join(' '),
      );
      print(
        [
          `${file} is valid`,
          `  model     ${plan.metadata.name}`,
          `  train     ${plan.train.job} on ${plan.train.dataset.name}@${plan.train.dataset.version}, at most ${formatDuration(plan.train.timeout)}`,
          `  evaluate  ${gate.join(', ') || 'no gate'}`,
          `  build     ${plan.build.image}`,
          ...plan.deploy.flatMap((one) => [
            `  deploy    ${one.environment}: ${one.manifest} in ${one.repository}`,
            ...(one.verify ?? []).map(
              (check) => `  verify    ${one.environment}: ${kindOfCheck(check)} ${check.name}`,
            ),
          ]),
        ].join('\n'),
      );
    });

  program
    .command('schema')
    .description('print the JSON Schema of plans')
    .action(() => print(JSON.stringify(planJsonSchema(), null, 2)));
}

const kindOfCheck = (check: VerifyCheck) => CHECK_KINDS.find((kind) => check[kind] !== undefined);

async function planFile(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  const file = found?.isDirectory() ? join(path, DEFAULT_PLAN_PATH) : path;
  if (!found || !(await stat(file).catch(() => undefined))?.isFile()) {
    throw new ThroughlineError('TL_PLAN_NOT_FOUND', `There is no plan at ${file}`);
  }
  return file;
}
