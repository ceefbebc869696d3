// Releases in the API's description.
import { CHECK_KINDS } from '../domain/verification.js';
import { cancelSchema, decisionSchema, triggerSchema } from '../releases/request.js';
import {
  dateTime,
  digest,
  forRole,
  json,
  nullable,
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

const idempotencyKey = { name: 'Idempotency-Key', in: 'header', schema: { type: 'string', maxLength: 500 } };
const bodyOf = (schema: string) => ({ ...json(ref(schema)), 'text/plain': { schema: string } });
const away = problem('Temporal is away; the same request can be sent again');

const canceling = response('Asked for; right also where it has ended or never was', {
  type: 'object',
  required: ['id', 'status'],
  properties: { id: string, status: { enum: ['CANCELING', 'UNKNOWN'] } },
});

export function releasePaths(): Record<string, unknown> {
  return {
    '/v1/releases': {
      post: forRole(
        'trigger',
        {
          operationId: 'startRelease',
          summary: 'Start a release, or find the one that the same key started before',
          parameters: [
            idempotencyKey,
            {
              name: 'traceparent',
              in: 'header',
              description: 'W3C Trace Context: the release joins this trace',
              schema: string,
            },
            { name: 'tracestate', in: 'header', schema: string },
            { name: 'baggage', in: 'header', schema: string },
          ],
          requestBody: { required: true, content: bodyOf('Trigger') },
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
            422: problem('A path is not usable'),
            503: away,
          },
        },
        true,
      ),
      get: forRole('read', {
        operationId: 'listReleases',
        summary: 'The newest releases',
        parameters: queryParameters(listQuerySchema),
        responses: {
          200: response('Releases, newest first', {
            type: 'object',
            required: ['releases'],
            properties: {
              releases: { type: 'array', items: ref('Summary') },
              cursor: { type: 'string', description: 'Where the next page begins; absent at the last' },
            },
          }),
          400: problem('A parameter is not valid'),
          503: away,
        },
      }),
    },
    '/v1/releases/{id}': {
      get: forRole('read', {
        operationId: 'getRelease',
        summary: 'Everything that is known of a release',
        parameters: [id],
        responses: {
          200: response('The release', ref('Release')),
          404: problem('There is no such release'),
          503: away,
        },
      }),
    },
    '/v1/releases/{id}/events': {
      get: forRole('read', {
        operationId: 'followRelease',
        summary: 'What happens to a release, as Server-Sent Events, to its end',
        parameters: [
          id,
          {
            name: 'Last-Event-ID',
            in: 'header',
            description: 'Of the last event that is known: what came after it is sent',
            schema: string,
          },
        ],
        responses: {
          200: { description: 'Events', content: { 'text/event-stream': { schema: string } } },
          204: { description: 'Nothing comes after that' },
          404: problem('There is no such release'),
          503: away,
        },
      }),
    },
    '/v1/releases/{id}/cancel': {
      post: forRole('trigger', {
        operationId: 'cancelRelease',
        summary: 'Ask for the end of a release',
        parameters: [id],
        responses: { 202: canceling, 503: away },
      }),
    },
    '/v1/releases/cancel': {
      post: forRole(
        'trigger',
        {
          operationId: 'cancelByKey',
          summary: 'Ask for the end of the release that a key started',
          parameters: [idempotencyKey],
          requestBody: { content: bodyOf('Cancel') },
          responses: { 202: canceling, 400: problem('The request names no key'), 503: away },
        },
        true,
      ),
    },
    ...Object.fromEntries(
      (['approve', 'reject'] as const).map((verb) => [
        `/v1/releases/{id}/${verb}`,
        {
          post: forRole('approve', {
            operationId: `${verb}Release`,
            summary:
              verb === 'approve'
                ? 'Let a release go into the environment that waits for it'
                : 'Refuse it: the release ends REJECTED',
            parameters: [id],
            requestBody: { content: bodyOf('Decision') },
            responses: {
              200: response('What was decided; the same again where it had been', ref('Approval')),
              400: problem('The request is not of the right form'),
              404: problem('There is no such release'),
              409: problem('The release does not wait for an approval'),
              503: away,
            },
          }),
        },
      ]),
    ),
  };
}

export function releaseSchemas(): Record<string, unknown> {
  return {
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
        environments: { type: 'array', items: string },
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
        'result',
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
        environments: { type: 'array', items: string },
        rollback: ref('Rollback'),
        result: {
          type: 'object',
          description: 'Every id that a later stage of a pipeline may want; null is what there is not',
          required: ['release', 'traceId', 'traceparent', 'gitopsCommits', 'pullRequests', 'approvedBy'],
          properties: {
            release: string,
            model: nullable(string),
            commit: nullable(string),
            dataset: nullable(string),
            modelId: nullable(string),
            modelDigest: nullable(digest),
            image: nullable(string),
            imageDigest: nullable(digest),
            gitopsCommit: nullable(string),
            gitopsCommits: { type: 'object', additionalProperties: string },
            pullRequest: nullable(string),
            pullRequests: { type: 'object', additionalProperties: string },
            approvedBy: { type: 'object', additionalProperties: string },
            traceId: string,
            traceparent: string,
            error: nullable(string),
          },
        },
        approvals: { type: 'array', items: ref('Approval') },
        awaited: {
          type: 'array',
          items: {
            type: 'object',
            required: ['environment', 'since', 'until'],
            properties: {
              environment: string,
              since: dateTime,
              until: dateTime,
              escalated: {
                type: 'object',
                required: ['note', 'at'],
                properties: { note: string, at: dateTime },
              },
            },
          },
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
        proposed: {
          type: 'array',
          description: 'Pull requests that were opened',
          items: {
            type: 'object',
            required: ['environment', 'url', 'number', 'until'],
            properties: {
              environment: string,
              url: string,
              number: { type: 'integer' },
              openedAt: dateTime,
              until: dateTime,
            },
          },
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
              container: string,
              commit: string,
              rolledBack: {
                type: 'object',
                required: ['commit', 'reason'],
                properties: { commit: string, reason: string },
              },
              pullRequest: {
                type: 'object',
                required: ['url', 'number'],
                properties: {
                  url: string,
                  number: { type: 'integer' },
                  mergedBy: string,
                  mergedAt: dateTime,
                },
              },
            },
          },
        },
        verifications: {
          type: 'array',
          description: 'What the checks of deployments came to',
          items: {
            type: 'object',
            required: ['environment', 'name', 'kind', 'passed', 'expected', 'found', 'startedAt', 'endedAt'],
            properties: {
              environment: string,
              name: string,
              kind: { enum: CHECK_KINDS },
              passed: { type: 'boolean' },
              expected: string,
              found: string,
              samples: { type: 'integer' },
              startedAt: dateTime,
              endedAt: dateTime,
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
    Approval: {
      type: 'object',
      required: ['environment', 'decision', 'by', 'at'],
      properties: {
        id: string,
        environment: string,
        decision: { enum: ['approved', 'refused'] },
        by: string,
        comment: string,
        at: dateTime,
      },
    },
    Cancel: withoutSchemaKeyword(cancelSchema),
    Decision: withoutSchemaKeyword(decisionSchema),
  };
}
