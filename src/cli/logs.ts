import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { LOG_START, type LogPage } from '../activities/training/runner.js';
import { ThroughlineError } from '../domain/errors.js';
import { temporalClient } from '../temporal/connect.js';
import { type ClientOptions, temporalTarget, withClient, withReleases } from './options.js';
import { printJson } from './output.js';

/** A page must fit into a Temporal payload with room to spare (the server's limit is 2 MB). */
const PAGE_BYTES = 256 * 1024;

interface LogsOptions extends ClientOptions {
  readonly follow?: boolean;
}

export function logsCommand(program: Command): void {
  withClient(program.command('logs'))
    .description('print the training log of a release')
    .argument('<release>', 'id of the release')
    .option('-f, --follow', 'go on until the training ends')
    .action(async (id: string, options: LogsOptions) => {
      const { record } = await withReleases(options, (releases) => releases.get(id));
      const job = record.training?.job ?? (await runningJob(record.release, options));
      if (!job) {
        throw new ThroughlineError('TL_RELEASE_NOT_FOUND', `${id} has not begun to train`, {
          hint: 'throughline status shows what it does.',
        });
      }
      let from: string | undefined = LOG_START;
      let all = '';
      for (;;) {
        const page: LogPage = await readPage(job, from, options);
        if (options.json) all += page.text;
        else process.stdout.write(page.text);
        const idle: boolean = page.next === from || page.text === '';
        from = page.next;
        if (page.complete || (idle && !options.follow)) break;
        if (idle) await sleep(1000);
      }
      if (options.json) printJson({ release: id, job, log: all });
    });
}

/** The job of a release that trains, or whose training failed: it is in the input of the activity. */
async function runningJob(release: string, options: ClientOptions): Promise<string | undefined> {
  const { client, connection } = temporalClient(await temporalTarget(options));
  try {
    const history = await client.workflow.getHandle(release).fetchHistory();
    const scheduled = history.events?.find(
      (event) => event.activityTaskScheduledEventAttributes?.activityType?.name === 'train',
    );
    const payload = scheduled?.activityTaskScheduledEventAttributes?.input?.payloads?.[0]?.data;
    if (!payload) return undefined;
    return (JSON.parse(Buffer.from(payload).toString('utf8')) as { name: string }).name;
  } finally {
    await connection.close();
  }
}

/** The log is where the worker is: a short workflow reads it there. */
async function readPage(job: string, from: string | undefined, options: ClientOptions): Promise<LogPage> {
  const { client, connection } = temporalClient(await temporalTarget(options));
  try {
    return await client.workflow.execute('trainingLog', {
      workflowId: `log-${randomUUID()}`,
      taskQueue: options.taskQueue ?? 'throughline',
      args: [job, from, PAGE_BYTES],
      workflowExecutionTimeout: '1m',
      staticSummary: `log of ${job}`,
    });
  } finally {
    await connection.close();
  }
}
