// The audit log in the API's description.
import { dateTime, forRole, nullable, problem, queryParameters, response, string } from './openapi-parts.js';
import { auditQuerySchema } from './queries.js';

export function auditPaths(): Record<string, unknown> {
  return {
    '/v1/audit': {
      get: forRole('admin', {
        operationId: 'readAudit',
        summary: 'What callers have done, or wanted to, newest first',
        parameters: queryParameters(auditQuerySchema),
        responses: {
          200: response('A page of the audit log', {
            type: 'object',
            required: ['entries'],
            properties: {
              entries: {
                type: 'array',
                items: {
                  type: 'object',
                  required: ['id', 'at', 'address', 'gateway', 'action', 'outcome', 'status'],
                  properties: {
                    id: string,
                    at: dateTime,
                    actor: nullable(string),
                    address: string,
                    gateway: string,
                    action: string,
                    release: nullable(string),
                    outcome: { enum: ['accepted', 'refused'] },
                    status: { type: 'integer' },
                    code: nullable(string),
                  },
                },
              },
              cursor: string,
            },
          }),
          400: problem('A parameter is not valid'),
          503: problem('The store is away'),
        },
      }),
    },
  };
}
