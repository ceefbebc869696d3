// Static bearer tokens. The configuration has their hashes: a token is 256 random bits, so that a plain SHA-256 is enough.
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import type { TokenSettings } from '../../policy/index.js';
import type { Caller } from './caller.js';

const PREFIX = 'tl_';

/** A new token, and what the configuration has of it. */
export function newToken(): { token: string; sha256: string } {
  const token = `${PREFIX}${randomBytes(32).toString('base64url')}`;
  return { token, sha256: hashOf(token).toString('hex') };
}

export class Tokens {
  private readonly known: readonly { readonly hash: Buffer; readonly settings: TokenSettings }[];

  constructor(settings: readonly TokenSettings[]) {
    this.known = settings.map((one) => ({ hash: Buffer.from(one.sha256, 'hex'), settings: one }));
  }

  /** Whose token it is. Takes as long for one that is nobody's, however much of it is right. */
  find(token: string): Caller | undefined {
    const hash = hashOf(token);
    let found: TokenSettings | undefined;
    for (const one of this.known) if (timingSafeEqual(one.hash, hash)) found = one.settings;
    if (!found || (found.expires && Date.parse(found.expires) <= Date.now())) return undefined;
    return { name: found.name, grants: found.grants, known: true };
  }
}

const hashOf = (token: string) => createHash('sha256').update(token).digest();
