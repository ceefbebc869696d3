// Registers the search attributes that releases use. Idempotent; on a service that does not allow it (Temporal Cloud)
// it says which command an administrator runs instead.
import type { Connection } from '@temporalio/client';
import { ThroughlineError } from '../domain/errors.js';
import { SEARCH_ATTRIBUTES } from '../workflows/search-attributes.js';

/** temporal.api.enums.v1.IndexedValueType, INDEXED_VALUE_TYPE_KEYWORD. */
const KEYWORD = 2;

export async function registerSearchAttributes(connection: Connection, namespace: string): Promise<void> {
  const names = Object.values(SEARCH_ATTRIBUTES).map(({ name }) => name);
  const present = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = names.filter((name) => !(name in (present.customAttributes ?? {})));
  if (missing.length === 0) return;
  try {
    await connection.operatorService.addSearchAttributes({
      namespace,
      searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])),
    });
  } catch (cause) {
    const command = `temporal operator search-attribute create --namespace ${namespace} ${missing
      .map((name) => `--name ${name} --type Keyword`)
      .join(' ')}`;
    throw new ThroughlineError('TL_CONFIG_INVALID', `The namespace ${namespace} lacks search attributes`, {
      expected: missing.join(', '),
      hint: `Run as an administrator: ${command}`,
      cause,
    });
  }
}
