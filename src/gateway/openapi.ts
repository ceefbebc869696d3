// The API's description (OpenAPI 3.1), out of the schemas that validate its requests.
import { z } from 'zod';
import { ERROR_KINDS } from '../domain/errors.js';
import { triggerSchema } from '../releases/request.js';
import { VERSION } from '../version.js';
import { listQuerySchema, servedQuerySchema } from './queries.js';

const json = (schema: unknown) => ({ 'application/json': { schema } });
const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
const response = (description: string, schema: unknown) => ({ description, content: json(schema) });
const problem = (description: string) => response(description, ref('Error'));

const OUTCOMES = ['SUCCEEDED', 'REJECTED', 'FAILED', 'CANCELED', 'SUPERSEDED'];
const string = { type: 'string' };
const dateTime = { type: 'string', format: 'date-time' };
const digest = { type: 'string', pattern: '^sha256:[0-9a-f]{64}$' };

const id = {
  name: 'id',
  in: 'path',
  required: true,
  description: 'The release’s id',
  schema: { type: 'string', pattern: '^rel-[a-z2-7]{20}$' },
};

const anyId = {
  name: 'id',
  in: 'path',
  required: true,
  description:
    'A trace, span, traceparent, prediction’s trace, pod, image, digest, model, dataset@version, Job, commit, release, run or execution; encoded',
  schema: { type: 'string', maxLength: 1_024 },
};

const nullable = (schema: Record<string, unknown>) => ({ anyOf: [schema, { type: 'null' }] });

/** Answers about lineage (src/lineage/answer.ts). */
function lineageSchemas(): Record<string, unknown> {
  const matches = {
    type: 'array',
    items: { type: 'object', required: ['kind', 'id'], properties: { kind: string, id: string } },
  };
  const window = {
    environment: string,
    repository: string,
    manifest: string,
    commit: string,
    from: nullable(dateTime),
    to: nullable(dateTime),
    rollback: { const: true },
  };
  const required = ['environment', 'commit', 'from', 'to'];
  const impacted = {
    type: 'object',
    required: ['release', 'model', ...required],
    properties: { release: string, model: string, imageDigest: nullable(digest), ...window },
  };
  return {
    Chain: {
      type: 'object',
      required: ['release', 'status', 'repository', 'gitopsCommits', 'deployments', 'traceId', 'requestedAt'],
      properties: {
        release: string,
        status: { enum: ['RUNNING', ...OUTCOMES] },
        model: nullable(string),
        repository: string,
        ref: string,
        planPath: string,
        commit: nullable(string),
        dataset: nullable({ type: 'string', description: 'name@version' }),
        datasetDigest: nullable(string),
        parameters: { type: 'object', additionalProperties: string },
        metrics: nullable({ type: 'object' }),
        training: nullable({
          type: 'object',
          properties: {
            job: string,
            image: nullable(string),
            startedAt: nullable(dateTime),
            endedAt: nullable(dateTime),
          },
        }),
        pods: { type: 'array', items: { type: 'object', properties: { namespace: string, name: string } } },
        modelId: nullable(string),
        modelDigest: nullable(digest),
        modelUri: nullable(string),
        image: nullable(string),
        imageDigest: nullable(digest),
        baseImages: { type: 'array', items: { type: 'object', properties: { name: string, digest } } },
        gitopsCommits: { type: 'array', items: string },
        deployments: { type: 'array', items: { type: 'object', required, properties: window } },
        traceId: string,
        traceparent: string,
        execution: nullable(string),
        requestedAt: dateTime,
        endedAt: nullable(dateTime),
        stages: {
          type: 'array',
          items: {
            type: 'object',
            properties: { name: string, status: string, startedAt: dateTime, endedAt: dateTime },
          },
        },
      },
    },
    Lineage: {
      type: 'object',
      required: ['query', 'matches', 'releases', 'more'],
      properties: {
        query: string,
        matches,
        releases: { type: 'array', items: ref('Chain') },
        more: { type: 'boolean', description: 'There are more releases than are given here' },
      },
    },
    Impact: {
      type: 'object',
      required: ['query', 'matches', 'releases', 'models', 'images', 'deployments', 'serving'],
      properties: {
        query: string,
        matches,
        releases: { type: 'integer' },
        models: { type: 'array', items: { type: 'object', properties: { modelDigest: digest } } },
        images: { type: 'array', items: { type: 'object', properties: { imageDigest: digest } } },
        deployments: { type: 'array', items: impacted },
        serving: { type: 'array', items: impacted },
      },
    },
  };
}

function withoutSchemaKeyword(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

function queryParameters(schema: z.ZodType): unknown[] {
  const { properties, required = [] } = withoutSchemaKeyword(schema) as {
    properties: Record<string, { description?: string }>;
    required?: string[];
  };
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: 'query',
    ...(required.includes(name) ? { required: true } : {}),
    ...(description ? { description } : {}),
    schema: rest,
  }));
}

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
      '/v1/lineage/{id}': {
        get: {
          operationId: 'findLineage',
          summary: 'From any id to the whole chain',
          parameters: [anyId],
          responses: {
            200: response('What has the id, and the releases that it leads to', ref('Lineage')),
            404: problem('No release has to do with it'),
            503: problem('The lineage store is away'),
          },
        },
      },
      '/v1/lineage': {
        get: {
          operationId: 'servedAt',
          summary: 'What an environment served at a time',
          parameters: queryParameters(servedQuerySchema),
          responses: {
            200: response('The releases', {
              type: 'object',
              required: ['environment', 'at', 'releases'],
              properties: {
                environment: string,
                at: dateTime,
                releases: { type: 'array', items: ref('Chain') },
              },
            }),
            400: problem('A parameter is not valid'),
            404: problem('There is no such environment'),
            503: problem('The lineage store is away'),
          },
        },
      },
      '/v1/impact/{id}': {
        get: {
          operationId: 'findImpact',
          summary: 'What descends from a dataset, a commit, a model or an image',
          parameters: [anyId],
          responses: {
            200: response('Everything that descends from it', ref('Impact')),
            404: problem('No release has to do with it'),
            503: problem('The lineage store is away'),
          },
        },
      },
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
