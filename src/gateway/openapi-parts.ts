// What the parts of the API's description share.
import { z } from 'zod';
import type { Role } from '../policy/index.js';

export const json = (schema: unknown) => ({ 'application/json': { schema } });
export const ref = (name: string) => ({ $ref: `#/components/schemas/${name}` });
export const response = (description: string, schema: unknown) => ({ description, content: json(schema) });
export const problem = (description: string) => response(description, ref('Error'));

export const OUTCOMES = ['SUCCEEDED', 'REJECTED', 'FAILED', 'CANCELED', 'SUPERSEDED'];
export const string = { type: 'string' };
export const dateTime = { type: 'string', format: 'date-time' };
export const digest = { type: 'string', pattern: '^sha256:[0-9a-f]{64}$' };

export const nullable = (schema: Record<string, unknown>) => ({ anyOf: [schema, { type: 'null' }] });

export function withoutSchemaKeyword(schema: z.ZodType): Record<string, unknown> {
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  return rest;
}

export function queryParameters(schema: z.ZodType): unknown[] {
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

/** Whoever asks for it has to have the role: as OAuth's scopes are, in the security requirement (OpenAPI 3.1). */
export function forRole(
  role: Role,
  operation: { readonly responses: Record<number, unknown> } & Record<string, unknown>,
  maySign = false,
): Record<string, unknown> {
  return {
    ...operation,
    security: [{ bearer: [role] }, ...(maySign ? [{ signature: [role] }] : [])],
    responses: {
      ...operation.responses,
      401: problem('The gateway does not know who asks'),
      403: problem('The caller does not have the role, or the release reaches beyond what is allowed'),
      429: problem('The caller asks too often'),
    },
  };
}
