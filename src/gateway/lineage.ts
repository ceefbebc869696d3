// Lineage over HTTP. An id stands in the path, encoded: it may have slashes.
import type { FastifyInstance, FastifyRequest } from 'fastify';
import type { LineageReader } from '../lineage/index.js';
import { scopesOf } from './access/caller.js';
import { callerOf } from './access/hooks.js';
import { storeMissing } from './errors.js';
import { driftQuerySchema, parseQuery, servedQuerySchema } from './queries.js';
import { ScopedReader } from './scoped-lineage.js';

const READ = { config: { role: 'read' } } as const;

export function lineageRoutes(app: FastifyInstance, everything: LineageReader | undefined): void {
  const lineage = (request: FastifyRequest): LineageReader => {
    if (!everything) throw storeMissing();
    const scopes = scopesOf(callerOf(request), 'read');
    return scopes ? new ScopedReader(everything, scopes) : everything;
  };
  app.get('/v1/lineage', READ, async (request) => {
    const { environment, at } = parseQuery(servedQuerySchema, request.query);
    return lineage(request).servedAt(environment, at === undefined ? new Date() : new Date(at));
  });
  app.get<{ Params: { '*': string } }>('/v1/lineage/*', READ, async (request) =>
    lineage(request).find(request.params['*']),
  );
  app.get<{ Params: { '*': string } }>('/v1/attestations/*', READ, async (request) =>
    lineage(request).attestations(request.params['*']),
  );
  app.get('/v1/drift', READ, async (request) =>
    lineage(request).drift(parseQuery(driftQuerySchema, request.query).environment),
  );
  app.get<{ Params: { '*': string } }>('/v1/impact/*', READ, async (request) =>
    lineage(request).impact(request.params['*']),
  );
}
