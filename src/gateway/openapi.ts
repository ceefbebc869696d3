// The API's description (OpenAPI 3.1), out of the schemas that validate its requests.
import { ERROR_KINDS } from '../domain/errors.js';
import { triggerSchema } from '../releases/request.js';
import { VERSION } from '../version.js';
import { lineagePaths, lineageSchemas } from './openapi-lineage.js';
import {
  dateTime,
  digest,
  json,
  OUTCOMES,
  problem,
  queryParameters,
  ref,
  response,
  string,
  withoutSchemaKeyword,
} from './openapi-parts.js';
import { listQuerySchema } from './queries.js';

const id = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'The release’s id',
  schema: { type: 'string', pattern: '^rel-[a-z2-7]{20}$' },
};

/** The whole document; the same for every caller. */
export function openApiDocument(): Record<string, unknown> {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Throughline',
      version: VERSION,
      description: 'Durable, traceable releases of machine-learning models.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    paths: {
      '/v1/releases': {
        post: {
          operationId: 'startRelease',
          summary: 'Start a release, or find the one that the same key started before',
          parameters: [
            { name: 'Idempotency-Key', in: 'header', schema: { type: 'string', maxLength: 500 } },
            {
              name: 'traceparent',
              in: 'header',
              description: 'W3C Trace Context: the release joins this trace',
              schema: string,
            },
            { name: 'tracestate', in: 'header', schema: string },
            { name: 'baggage', in: 'header', schema: string },
          ],
          requestBody: {
            required: true,
            content: { ...json(ref('Trigger')), 'text/plain': { schema: string } },
          },
          responses: {
            202: {
              ...response('The release runs, or ran before', ref('Started')),
              headers: {
                Location: {
                  description: 'Absolute URL of the release',
                  schema: { type: 'string', format: 'uri' },
                },
              },
            },
            400: problem('The request is not of the right form'),
            409: problem('The key was used for another request'),
            413: problem('The body is too large'),
            415: problem('The content type is not JSON'),
            503: problem('Temporal is away; nothing was started'),
          },
        },
        get: {
          operationId: 'listReleases',
          summary: 'The newest releases',
          parameters: queryParameters(listQuerySchema),
          responses: {
            200: response('Releases, newest first', {
              type: 'object',
              required: ['releases'],
              properties: { releases: { type: 'array', items: ref('Summary') } },
            }),
            400: problem('A parameter is not valid'),
            503: problem('Temporal is away'),
          },
        },
      },
      '/v1/releases/{id}': {
        get: {
          operationId: 'getRelease',
          summary: 'Everything that is known of a release',
          parameters: [id],
          responses: {
            200: response('The release', ref('Release')),
            404: problem('There is no such release'),
            503: problem('Temporal is away'),
          },
        },
      },
      '/v1/releases/{id}/cancel': {
        post: {
          operationId: 'cancelRelease',
          summary: 'Ask for the end of a release; also right where it has ended or never was',
          parameters: [id],
          responses: {
            202: response('Asked for', {
              type: 'object',
              required: ['id', 'status'],
              properties: { id: string, status: { enum: ['CANCELING', 'UNKNOWN'] } },
            }),
            503: problem('Temporal is away'),
          },
        },
      },
      ...lineagePaths(),
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
      schemas: {
        ...lineageSchemas(),
        Trigger: withoutSchemaKeyword(triggerSchema),
        Started: {
          type: 'object',
          required: ['id', 'status', 'statusUrl', 'traceId', 'traceparent', 'created'],
          properties: {
            id: string,
            status: { const: 'RUNNING' },
            statusUrl: { type: 'string', format: 'uri' },
            traceId: { type: 'string', pattern: '^[0-9a-f]{32}$' },
            traceparent: string,
            created: { type: 'boolean', description: 'False where the key had started it before' },
          },
        },
        Summary: {
          type: 'object',
          required: ['release', 'status', 'startedAt', 'url'],
          properties: {
            release: string,
            status: { enum: ['RUNNING', ...OUTCOMES] },
            model: string,
            commit: string,
            modelId: string,
            imageDigest: digest,
            traceId: string,
            startedAt: dateTime,
            endedAt: dateTime,
            url: { type: 'string', format: 'uri' },
          },
        },
        Release: {
          type: 'object',
          required: [
            'id',
            'release',
            'status',
            'progress',
            'traceId',
            'deployments',
            'stages',
            'pending',
            'url',
          ],
          properties: {
            id: string,
            release: string,
            status: { enum: ['RUNNING', ...OUTCOMES] },
            progress: { type: 'string', description: 'Stage, attempt, and what is being waited for' },
            note: string,
            url: { type: 'string', format: 'uri' },
            traceId: string,
            traceparent: string,
            model: string,
            commit: string,
            dataset: {
              type: 'object',
              required: ['name', 'version'],
              properties: { name: string, version: string, digest: string },
            },
            training: {
              type: 'object',
              required: ['id', 'uri', 'digest', 'metrics', 'job'],
              properties: {
                id: string,
                uri: string,
                digest,
                metrics: { type: 'object', additionalProperties: { type: ['number', 'string'] } },
                datasetDigest: string,
                job: string,
                attempts: { type: 'integer' },
                startedAt: dateTime,
                endedAt: dateTime,
              },
            },
            image: {
              type: 'object',
              required: ['name', 'digest', 'reference', 'location'],
              properties: { name: string, digest, reference: string, location: string },
            },
            deployments: {
              type: 'array',
              items: {
                type: 'object',
                required: ['environment', 'commit'],
                properties: {
                  environment: string,
                  repository: string,
                  branch: string,
                  manifest: string,
                  commit: string,
                },
              },
            },
            stages: {
              type: 'array',
              items: {
                type: 'object',
                required: ['name', 'type', 'status', 'startedAt'],
                properties: {
                  name: string,
                  type: string,
                  status: { enum: ['RUNNING', ...OUTCOMES] },
                  startedAt: dateTime,
                  endedAt: dateTime,
                },
              },
            },
            pending: {
              type: 'array',
              items: {
                type: 'object',
                required: ['activity', 'attempt', 'running'],
                properties: {
                  activity: string,
                  attempt: { type: 'integer' },
                  running: { type: 'boolean' },
                  doing: string,
                  lastFailure: string,
                },
              },
            },
            outcome: {
              type: 'object',
              required: ['status'],
              properties: { status: { enum: OUTCOMES }, reason: string, problem: ref('Problem') },
            },
            endedAt: dateTime,
          },
        },
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
