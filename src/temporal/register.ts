// Registers the search attributes that releases use. Idempotent; on a service that does not allow it (Temporal Cloud)
// it says which command an administrator runs instead.
import type { Connection } from '@temporalio/client';
import { ThroughlineError } from '../domain/errors.js';
import { SEARCH_ATTRIBUTES } from '../workflows/search-attributes.js';

/** temporal.api.enums.v1.IndexedValueType; and how the command line calls it. */
const TYPES = {
  KEYWORD: { value: 2, name: 'Keyword' },
  KEYWORD_LIST: { value: 7, name: 'KeywordList' },
} as const;

export async function registerSearchAttributes(connection: Connection, namespace: string): Promise<void> {
  const present = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.values(SEARCH_ATTRIBUTES).filter(
    ({ name }) => !(name in (present.customAttributes ?? {})),
  );
  if (missing.length === 0) return;
  try {
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map(({ name, type }) => [name, TYPES[type].value])),
    });
  } catch (cause) {
    const command = `temporal operator search-attribute create --namespace ${namespace} ${missing
      .map(({ name, type }) => `--name ${name} --type ${TYPES[type].name}`)
      .join(' ')}`;
    throw new ThroughlineError('TL_CONFIG_INVALID', `The namespace ${namespace} lacks search attributes`, {
      expected: missing.map(({ name }) => name).join(', '),
      hint: `Run as an administrator: ${command}`,
      cause,
    });
  }
}
