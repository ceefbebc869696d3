// The worker as it is, with a runtime whose stages take no time: what is left is what Throughline itself costs.

import { NO_CONFIGURATION } from '../dist/policy/index.js';
import { createLogger } from '../dist/telemetry/log.js';
import { startTelemetry } from '../dist/telemetry/sdk.js';
import { temporalClient, workerConnection } from '../dist/temporal/connect.js';
import { workerConfig } from '../dist/worker/config.js';
import { runtimeOf } from '../dist/worker/runtimes.js';
import { installRuntime, startWorker } from '../dist/worker/worker.js';

const config = workerConfig();
const log = createLogger('instant-worker', 'info');
const telemetry = startTelemetry('instant-worker');
installRuntime(log);
const digest = (text) => `sha256:${text.repeat(64).slice(0, 64)}`;
const { adapters, close } = await runtimeOf(config, NO_CONFIGURATION, log);
const now = () => new Date().toISOString();
let prepared; // the plan is read once: what starting git takes would cover all that is measured
const runtime = {
  adapters: {
    ...adapters,
    source: {
      async prepare(...parameters) {
        prepared ??= await adapters.source.prepare(...parameters);
        return prepared;
      },
    },
    runner: {
      ...adapters.runner,
      check: async () => ({ namespace: undefined }),
      async run({ name }) {
        const at = now();
        return {
          id: 'instant-1',
          uri: 'file:///nowhere',
          digest: digest('1'),
          metrics: { accuracy: 1 },
          job: name,
          attempts: 1,
          startedAt: at,
          endedAt: at,
        };
      },
    },
    builder: {
      check: async () => {},
      async build({ image, tag }) {
        const name = `${image}:${tag}`;
        return { name, digest: digest('2'), reference: `${name}@${digest('2')}`, location: 'nowhere' };
      },
      stop: async () => {},
    },
    gitops: {
      check: async () => {},
      write: async () => '3'.repeat(40),
      find: async () => undefined,
    },
  },
  close,
};
await startWorker({
  configuration: NO_CONFIGURATION,
  config,
  runtime,
  connection: await workerConnection({}),
  temporal: temporalClient({}),
  telemetry,
  log,
});
process.once('SIGTERM', () => process.exit(0));
