// The demo on this machine alone: repositories are directories, the service is a process, the collector is ours.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { startOtlpReceiver } from '../dev/otlp-receiver.js';
import { freePort } from '../dev/ports.js';
import { fileAt, makeRepositories } from './repositories.js';
import { serveDeployment } from './serve.js';
import type { World } from './world.js';

export async function localWorld(
  directory: string,
  data: string,
  accuracy: number | undefined,
  undo: (() => unknown)[],
): Promise<World> {
  const collector = await startOtlpReceiver();
  undo.push(() => collector.stop());
  const registry = 'registry.example';
  const repositories = await makeRepositories(directory, {
    accuracy,
    collector: collector.endpoint,
    registry,
  });
  return {
    repositories,
    arguments: ['--port', '0', '--temporal-port', '0', '--ui-port', '0'],
    env: {
      THROUGHLINE_IMAGE_OUTPUT: 'layout',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
    },
    async serve({ deployments: [deployment] }) {
      if (!deployment) throw new Error('the release has no deployment');
      const service = join(directory, 'service');
      await mkdir(service, { recursive: true });
      const served = await serveDeployment({
        manifest: await fileAt(repositories.gitops, deployment.commit, deployment.manifest),
        container: 'inference',
        images: join(data, 'images'),
        directory: service,
        port: await freePort(0),
      });
      return {
        description: served.digest,
        urls: [served.url],
        pids: [served.pid],
        stop: () => served.stop(),
      };
    },
    async trace(id) {
      return collector.spans
        .filter(({ traceId }) => traceId === id)
        .map((span) => ({ ...span, events: span.events.length }));
    },
    facts: () => ({}),
    chain: () => [],
    kept: () => ({ lines: [`files        ${directory}`], end: [`rm -r ${directory}`] }),
  };
}
