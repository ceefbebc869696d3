// Messages signed with a shared secret, as Standard Webhooks says: HMAC-SHA256 over id, time and body. A message that is sent
// again later than five minutes is refused, one that is sent again before that starts nothing new: its id is its key (I1).
import type { IncomingHttpHeaders } from 'node:http';
import type { Webhook } from 'standardwebhooks';
import { readSecrets, type WebhookSettings } from '../../policy/index.js';
import type { Caller } from './caller.js';

export class Signatures {
  private constructor(
    private readonly senders: readonly {
      readonly settings: WebhookSettings;
      readonly keys: readonly Webhook[];
    }[],
  ) {}

  static async of(settings: readonly WebhookSettings[]): Promise<Signatures> {
    return new Signatures(
      await Promise.all(
        settings.map(async (one) => ({ settings: one, keys: await readSecrets(one.secretFile) })),
      ),
    );
  }

  /** Whether a request claims to be signed. */
  static in(headers: IncomingHttpHeaders): boolean {
    return headers['webhook-signature'] !== undefined;
  }

  /** Who signed it; undefined where nobody did who is known. */
  find(headers: IncomingHttpHeaders, body: Buffer): Caller | undefined {
    const { 'webhook-id': id } = headers;
    if (typeof id !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(id)) return undefined;
    for (const { settings, keys } of this.senders) {
      if (keys.some((key) => verifies(key, headers, body))) {
        const { name, grants } = settings;
        return { name, grants, known: true, message: id };
      }
    }
    return undefined;
  }
}

function verifies(key: Webhook, headers: IncomingHttpHeaders, body: Buffer): boolean {
  try {
    key.verify(body, headers as Record<string, string>, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}
