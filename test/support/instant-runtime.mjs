// The worker as it is, with a runtime whose training and builds take no time: for tests and benchmarks of what comes before and
// after them. A training that has a parameter TICKS takes that many tenths of a second.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { readConfiguration } from '../../dist/policy/configuration.js';
import { NO_CONFIGURATION } from '../../dist/policy/index.js';
import { createLogger } from '../../dist/telemetry/log.js';
import { startTelemetry } from '../../dist/telemetry/sdk.js';
import { temporalClient, workerConnection } from '../../dist/temporal/connect.js';
import { workerConfig } from '../../dist/worker/config.js';
import { runtimeOf } from '../../dist/worker/runtimes.js';
import { installRuntime, startWorker } from '../../dist/worker/worker.js';

const digestOf = (text) => `sha256:${createHash('sha256').update(text).digest('hex')}`;

/** Starts a worker; `replace` gets its adapters, and gives those that are to be others. */
export async function startInstantWorker(replace = () => ({})) {
  const config = workerConfig();
  const log = createLogger('instant-worker', 'info');
  const telemetry = startTelemetry('instant-worker');
  installRuntime(log);
  const path = process.env.THROUGHLINE_CONFIG;
  const configuration = path ? await readConfiguration(path) : NO_CONFIGURATION;
  const { adapters, close } = await runtimeOf(config, configuration, log);
  const { runner } = adapters;
  const instant = {
    runner: {
      check: async () => ({ namespace: undefined }),
      async run({ name, release, parameters, dataset }, { signal }) {
        const startedAt = new Date().toISOString();
        await sleep(Number(parameters.TICKS ?? 0) * 100, undefined, { signal });
        return {
          id: 'tiny-1',
          uri: `file:///nowhere/${release}`,
          digest: digestOf(`model of ${release}`),
          metrics: { accuracy: Number(parameters.ACCURACY ?? 1) },
          datasetDigest: digestOf(`${dataset.name} ${dataset.version}`),
          job: name,
          attempts: 1,
          startedAt,
          endedAt: new Date().toISOString(),
        };
      },
      complete: (...parameters) => runner.complete(...parameters),
      settle: async () => {},
      stop: (...parameters) => runner.stop(...parameters),
      log: async () => ({ text: '' }),
    },
    builder: {
      check: async () => {},
      async build({ image, tag }) {
        const digest = digestOf(`image ${tag}`);
        const name = `${image}:${tag}`;
        return { name, digest, reference: `${name}@${digest}`, location: 'nowhere' };
      },
      stop: async () => {},
    },
  };
  await startWorker({
    configuration,
    config,
    runtime: { adapters: { ...adapters, ...instant, ...replace(adapters) }, close },
    connection: await workerConnection({}),
    temporal: temporalClient({}),
    telemetry,
    log,
  });
  process.once('SIGTERM', () => process.exit(0));
}
