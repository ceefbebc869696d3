// The trace of a release, as a collector gets it, whatever becomes of workers and of the release.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from '../../src/dev/otlp-receiver.js';
import { World } from '../support/world.js';

let world: World;
let collector: OtlpReceiver;
beforeAll(async () => {
  world = await World.start('trace');
  collector = await startOtlpReceiver();
});
afterAll(async () => {
  await world?.stop();
  collector?.stop();
});
const exporting = () => ({
  OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
  OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
});

describe('the trace', () => {
  it('is whole', async () => {
    await world.worker(exporting());
    const { url } = world.model('whole');
    const record = await world.release(url, 'SUCCEEDED');
    await new Promise((resolve) => setTimeout(resolve, 3000));
    for (const span of collector.spans)
      console.log(
        span.name,
        span.spanId,
        span.parentSpanId,
        span.startUnixNano / 1000000n,
        (span.endUnixNano - span.startUnixNano) / 1000000n,
        JSON.stringify(span.attributes),
      );
    const history = await world.client.client.workflow.getHandle(record.release).fetchHistory();
    console.log(history.events?.map((e) => Object.keys(e).find((k) => k.endsWith('Attributes'))).join('\n'));
    expect(collector.spans.length).toBeGreaterThan(5);
  });
});
