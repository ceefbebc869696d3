// Lineage over HTTP. An id stands in the path, encoded: it may have slashes.
import type { FastifyInstance } from 'fastify';
import type { LineageReader } from '../lineage/index.js';
import { driftQuerySchema, parseQuery, servedQuerySchema } from './queries.js';

export function lineageRoutes(app: FastifyInstance, lineage: LineageReader): void {
  app.get('/v1/lineage', async (request) => {
    const { environment, at } = parseQuery(servedQuerySchema, request.query);
    return lineage.servedAt(environment, at === undefined ? new Date() : new Date(at));
  });
  app.get<{ Params: { '*': string } }>('/v1/lineage/*', (request) => lineage.find(request.params['*']));
  app.get<{ Params: { '*': string } }>('/v1/attestations/*', (request) =>
    lineage.attestations(request.params['*']),
  );
  app.get('/v1/drift', (request) => lineage.drift(parseQuery(driftQuerySchema, request.query).environment));
  app.get<{ Params: { '*': string } }>('/v1/impact/*', (request) => lineage.impact(request.params['*']));
}
