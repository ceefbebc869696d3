// The demo on this machine alone: repositories are directories, the service is a process, and the
// collector is that of `throughline dev`.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { freePort } from '../dev/ports.js';
import { spansOfTrace } from '../telemetry/seen.js';
import { fileAt, makeRepositories } from './repositories.js';
import { serveDeployment } from './serve.js';
import type { World } from './world.js';

export async function localWorld(
  directory: string,
  data: string,
  accuracy: number | undefined,
): Promise<World> {
  // Chosen here: the repositories name the receiver before `throughline dev` starts it.
  const [http, grpc] = [await freePort(0), await freePort(0)];
  const collector = `http://127.0.0.1:${grpc}`;
  const registry = 'registry.example';
  const repositories = await makeRepositories(directory, {
    accuracy,
    collector,
    registry,
  });
  return {
    repositories,
    arguments: [
      ...['--port', '0', '--temporal-port', '0', '--ui-port', '0'],
      ...['--otlp-http-port', `${http}`, '--otlp-grpc-port', `${grpc}`],
    ],
    env: {
      THROUGHLINE_IMAGE_OUTPUT: 'layout',
      OTEL_EXPORTER_OTLP_ENDPOINT: collector,
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
      return (await spansOfTrace(`http://127.0.0.1:${http}/spans`, id))
        .filter(({ traceId }) => traceId === id)
        .map((span) => ({ ...span, events: span.events.length }));
    },
    facts: () => ({}),
    chain: () => [],
    kept: () => ({ lines: [`files        ${directory}`], end: [`rm -r ${directory}`] }),
  };
}
