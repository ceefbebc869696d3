// Finds out who is asking: by a bearer token before anything of the body is read, by a signature when it has been.
import type { IncomingHttpHeaders } from 'node:http';
import { ThroughlineError } from '../../domain/errors.js';
import type { ServerConfiguration } from '../../policy/index.js';
import type { Caller } from './caller.js';
import { Issuers } from './oidc.js';
import { Signatures } from './signatures.js';
import { Tokens } from './tokens.js';

export class Authenticator {
  private constructor(
    /** Undefined where nobody is asked who they are. */
    private readonly known:
      | { readonly tokens: Tokens; readonly issuers: Issuers; readonly signatures: Signatures }
      | undefined,
  ) {}

  static async of(settings: ServerConfiguration['authentication']): Promise<Authenticator> {
    if (!settings) return new Authenticator(undefined);
    return new Authenticator({
      tokens: new Tokens(settings.tokens),
      issuers: new Issuers(settings.oidc),
      signatures: await Signatures.of(settings.webhooks),
    });
  }

  /** Whether callers have to say who they are. */
  get required(): boolean {
    return this.known !== undefined;
  }

  /**
   * Who sent these headers; undefined where only the body's signature can say. Throws TL_UNAUTHENTICATED, and
   * TL_IDENTITY_UNREACHABLE where the keys to a token cannot be had.
   */
  async byHeaders(headers: IncomingHttpHeaders, maySign: boolean): Promise<Caller | undefined> {
    if (!this.known) throw nobody();
    const { authorization } = headers;
    if (authorization === undefined) {
      if (maySign && Signatures.in(headers)) return undefined;
      throw nobody();
    }
    const [, token] = /^bearer +([A-Za-z0-9._~+/=-]{1,8192})$/i.exec(authorization) ?? [];
    const isJwt = token !== undefined && token.split('.').length === 3;
    const caller = token && (isJwt ? await this.known.issuers.find(token) : this.known.tokens.find(token));
    if (!caller) throw nobody();
    return caller;
  }

  /** Who signed this body. Throws TL_UNAUTHENTICATED. */
  bySignature(headers: IncomingHttpHeaders, body: Buffer): Caller {
    const caller = this.known?.signatures.find(headers, body);
    if (!caller) throw nobody();
    return caller;
  }
}

/** The same for every reason: what was wrong with credentials is nobody's business who has none. */
function nobody(): ThroughlineError {
  return new ThroughlineError('TL_UNAUTHENTICATED', 'The request says of nobody known that it is theirs', {
    expected: 'Authorization: Bearer with a valid token, or a valid signature (Standard Webhooks)',
  });
}
