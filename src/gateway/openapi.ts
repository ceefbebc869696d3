// The API's description (OpenAPI 3.1), out of the schemas that validate its requests.
import { ERROR_KINDS } from '../domain/errors.js';
import { auditPaths } from './openapi-audit.js';
import { lineagePaths, lineageSchemas } from './openapi-lineage.js';
import { problem, ref, response, string } from './openapi-parts.js';
import { releasePaths, releaseSchemas } from './openapi-releases.js';
import { targetPaths, targetSchemas } from './openapi-targets.js';

/** The whole document; the same for every caller. */
export function openApiDocument(): Record<string, unknown> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Throughline',
      version: 'v1', // of the API: which program answers is nobody's business who asks
      description: 'Durable, traceable releases of machine-learning models.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      ...releasePaths(),
      ...targetPaths(),
      ...lineagePaths(),
      ...auditPaths(),
      '/healthz': {
        get: {
          operationId: 'health',
          summary: 'Whether the process is alive',
          responses: { 200: response('Alive', ref('Health')) },
        },
      },
      '/readyz': {
        get: {
          operationId: 'readiness',
          summary: 'Whether Temporal answers',
          responses: { 200: response('Ready', ref('Health')), 503: problem('Temporal is away') },
        },
      },
    },
    components: {
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description:
            'A token of the server’s configuration, or a JSON Web Token of a provider that it trusts',
        },
        signature: {
          type: 'apiKey',
          in: 'header',
          name: 'webhook-signature',
          description: 'Standard Webhooks: with webhook-id and webhook-timestamp',
        },
      },
      schemas: {
        ...lineageSchemas(),
        ...releaseSchemas(),
        ...targetSchemas(),
        Problem: {
          type: 'object',
          required: ['code', 'message'],
          properties: {
            code: { enum: Object.keys(ERROR_KINDS) },
            message: string,
            expected: string,
            found: string,
            hint: { type: 'string', description: 'What to do' },
            where: {
              type: 'object',
              required: ['file'],
              properties: { file: string, line: { type: 'integer' }, column: { type: 'integer' } },
            },
            also: { type: 'array', items: ref('Problem') },
          },
        },
        Error: { type: 'object', required: ['error'], properties: { error: ref('Problem') } },
        Health: { type: 'object', required: ['status'], properties: { status: string } },
      },
    },
  };
}
