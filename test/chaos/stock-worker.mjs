// A worker as users of the stock plugin would write it, for comparison: the same workflow and the same activities, with
// @temporalio/interceptors-opentelemetry-v2 and a batch processor in the place of the projection. What it hands to
// the Job is what its own active span says, as the plugin's documentation has it.
import { hostname } from 'node:os';
import { context, propagation } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-grpc';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { OpenTelemetryPlugin } from '@temporalio/interceptors-opentelemetry-v2';
import { NativeConnection, Worker } from '@temporalio/worker';
import { NO_CONFIGURATION } from '../../dist/policy/index.js';
import { createLogger } from '../../dist/telemetry/log.js';
import { startTelemetry } from '../../dist/telemetry/sdk.js';
import { createActivities } from '../../dist/worker/activities.js';
import { workerConfig } from '../../dist/worker/config.js';
import { localRuntime } from '../../dist/worker/runtimes.js';
import { installRuntime } from '../../dist/worker/worker.js';

const config = workerConfig();
const log = createLogger('stock-worker', 'info');
installRuntime(log);
startTelemetry('stock-worker', {}); // context and propagation; the plugin brings its own way out
const resource = defaultResource().merge(resourceFromAttributes({ 'service.name': 'stock-worker' }));
const plugin = new OpenTelemetryPlugin({
  resource,
  spanProcessor: new BatchSpanProcessor(new OTLPTraceExporter(), { scheduledDelayMillis: 1000 }),
});
const identity = `${process.pid}@${hostname()}`;
const activities = createActivities({
  worker: identity,
  log,
  settings: { heartbeatTimeoutSeconds: config.heartbeatTimeoutSeconds, runtime: 'local' },
  ...localRuntime(config, NO_CONFIGURATION.allow).adapters,
  exporter: undefined,
  resource,
  traces: undefined, // the plugin's part
});
const carrier = () => {
  const found = {};
  propagation.inject(context.active(), found);
  return found.traceparent ? found : undefined;
};
const worker = await Worker.create({
  connection: await NativeConnection.connect({ address: process.env.TEMPORAL_ADDRESS }),
  identity,
  taskQueue: config.taskQueue,
  workflowsPath: new URL('../../dist/workflows/index.js', import.meta.url).pathname,
  activities: {
    ...activities,
    train: (job) => activities.train({ ...job, trace: carrier() ?? job.trace }),
    buildImage: (build) => activities.buildImage({ ...build, trace: carrier() ?? build.trace }),
  },
  plugins: [plugin],
  stickyQueueScheduleToStartTimeout: '3s',
  maxHeartbeatThrottleInterval: '5s',
  defaultHeartbeatThrottleInterval: '1s',
});
log.info('worker started');
await worker.run();
