// Rollbacks and holds in the API's description.
import { holdSchema, rollbackSchema } from '../releases/targets.js';
import { forRole, json, problem, ref, response, string, withoutSchemaKeyword } from './openapi-parts.js';

const away = problem('Temporal is away; the same request can be sent again');
const idempotencyKey = { name: 'Idempotency-Key', in: 'header', schema: { type: 'string', maxLength: 500 } };
const refusals = {
  400: problem('The request is not of the right form'),
  409: problem('There is no such target, nothing to go back to, or the key was used for another request'),
  413: problem('The body is too large'),
  415: problem('The content type is not JSON'),
  503: away,
};

export function targetPaths(): Record<string, unknown> {
  return {
    '/v1/rollbacks': {
      post: forRole('trigger', {
        operationId: 'rollBack',
        summary:
          'Bring back what an environment ran before: a release of its own, which trains and builds nothing',
        parameters: [idempotencyKey],
        requestBody: { required: true, content: json(ref('RollbackRequest')) },
        responses: {
          202: {
            ...response('The rollback runs, or ran before', ref('Started')),
            headers: {
              Location: {
                description: 'Absolute URL of the release',
                schema: { type: 'string', format: 'uri' },
              },
            },
          },
          ...refusals,
        },
      }),
    },
    '/v1/holds': {
      post: forRole('trigger', {
        operationId: 'holdTarget',
        summary: 'Keep releases away from a model in an environment, or let them in again',
        requestBody: { required: true, content: json(ref('HoldRequest')) },
        responses: { 200: response('It is held, or is no longer', ref('Hold')), ...refusals },
      }),
    },
  };
}

export function targetSchemas(): Record<string, unknown> {
  const reference = {
    type: 'object',
    required: ['release', 'traceparent'],
    properties: { release: string, traceparent: string },
  };
  return {
    RollbackRequest: withoutSchemaKeyword(rollbackSchema),
    HoldRequest: withoutSchemaKeyword(holdSchema),
    Hold: {
      type: 'object',
      required: ['model', 'environment', 'held', 'reason', 'commit'],
      properties: {
        model: string,
        environment: string,
        held: { type: 'boolean' },
        reason: string,
        commit: { type: 'string', description: 'Of the GitOps branch' },
      },
    },
    Rollback: {
      type: 'object',
      required: ['environment', 'from', 'to'],
      properties: { environment: string, from: reference, to: reference, reason: string },
    },
  };
}
