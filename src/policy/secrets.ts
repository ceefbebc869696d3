// Shared secrets of signed messages, in files of their own: what is sent in is verified with them, what is sent out signed.
import { readFile } from 'node:fs/promises';
import { Webhook } from 'standardwebhooks';
import { messageOf, ThroughlineError } from '../domain/errors.js';

/** The secrets of a file, a line each: the first signs, all of them verify. Throws TL_CONFIG_INVALID. */
export async function readSecrets(file: string): Promise<Webhook[]> {
  try {
    const lines = (await readFile(file, 'utf8')).split('\n').map((line) => line.trim());
    const secrets = lines.filter(Boolean).map((secret) => new Webhook(secret));
    if (secrets.length > 0) return secrets;
  } catch (cause) {
    throw new ThroughlineError('TL_CONFIG_INVALID', `The secret ${file} cannot be used`, {
      expected: 'whsec_ and base64, a line each',
      found: (cause as { code?: string }).code ? messageOf(cause) : undefined, // never what stands in it (I9)
    });
  }
  throw new ThroughlineError('TL_CONFIG_INVALID', `There is no secret in ${file}`);
}
