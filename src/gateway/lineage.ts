// Lineage over HTTP. An id stands in the path, encoded: it may have slashes.
import type { FastifyInstance } from 'fastify';
import { ThroughlineError } from '../domain/errors.js';
import type { LineageReader } from '../lineage/index.js';
import { servedQuerySchema } from './queries.js';

export function lineageRoutes(app: FastifyInstance, lineage: LineageReader): void {
  app.get('/v1/lineage', async (request) => {
    const query = servedQuerySchema.safeParse(request.query);
    if (!query.success) {
      const issue = query.error.issues[0];
      throw new ThroughlineError(
        'TL_REQUEST_INVALID',
        `The parameter ${issue?.path.join('.') || 'list'} is not valid`,
        { expected: issue?.message },
      );
    }
    const { environment, at } = query.data;
    return lineage.servedAt(environment, at === undefined ? new Date() : new Date(at));
  });
  app.get<{ Params: { '*': string } }>('/v1/lineage/*', (request) => lineage.find(request.params['*']));
  app.get<{ Params: { '*': string } }>('/v1/impact/*', (request) => lineage.impact(request.params['*']));
}
