// Documents that are written from the code, so that they cannot differ from it.
import { ERROR_KINDS } from '../domain/errors.js';
import { openApiDocument } from '../gateway/openapi.js';
import { planJsonSchema } from '../plan/index.js';
import { configurationJsonSchema } from '../policy/index.js';

/** Text of each document, by its name in docs/. */
export function generatedDocuments(): Record<string, string> {
  return {
    'throughline.schema.json': json(planJsonSchema()),
    'server-configuration.schema.json': json(configurationJsonSchema()),
    'openapi.json': json(openApiDocument()),
    'errors.md': errors(),
  };
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

function errors(): string {
  const sections = Object.entries(ERROR_KINDS).map(
    ([code, { title, remedy, http }]) =>
      `## ${code}\n\n${title}\n\n**What to do:** ${remedy}\n\nHTTP status: ${http}\n`,
  );
  return [
    '# Errors\n',
    'Every error has a stable code, says what was expected, what was found and where, and what to do. This page is',
    'written from `src/domain/error-kinds.ts` by `npm run docs`.\n',
    ...sections,
  ].join('\n');
}
