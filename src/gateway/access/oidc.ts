// JSON Web Tokens of OpenID Connect providers: of people who have logged in somewhere, and of pods (Kubernetes' own service
// account tokens). Keys are fetched when they are needed, and again when a token names one that is new.
import {
  createRemoteJWKSet,
  decodeJwt,
  errors,
  type JWTPayload,
  type JWTVerifyGetKey,
  jwtVerify,
} from 'jose';
import { messageOf, ThroughlineError } from '../../domain/errors.js';
import type { IssuerSettings } from '../../policy/index.js';
import type { Caller } from './caller.js';

/** Signatures by keys that only the provider has; never a shared secret, never none (RFC 8725, 3.1). */
const ALGORITHMS = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'];
const CLOCK_SECONDS = 30;
const FETCH_MS = 5_000;
/** A token with an unknown key has the keys fetched again, at most this often. */
const COOL_DOWN_MS = 10_000;

export class Issuers {
  private readonly issuers: readonly Issuer[];

  constructor(settings: readonly IssuerSettings[]) {
    this.issuers = settings.map((one) => new Issuer(one));
  }

  /** Whose token it is; undefined where it is not valid. Throws TL_IDENTITY_UNREACHABLE. */
  async find(token: string): Promise<Caller | undefined> {
    const issuer = issuerOf(token);
    // Several may be configured for one issuer: each for its own audience.
    for (const one of this.issuers.filter(({ settings }) => settings.issuer === issuer)) {
      const caller = await one.verify(token);
      if (caller) return caller;
    }
    return undefined;
  }
}

class Issuer {
  private keys: JWTVerifyGetKey | undefined;

  constructor(readonly settings: IssuerSettings) {}

  async verify(token: string): Promise<Caller | undefined> {
    const { issuer, audience, nameClaim, grants } = this.settings;
    let payload: JWTPayload;
    try {
      ({ payload } = await jwtVerify(token, await this.keySet(), {
        issuer,
        audience,
        algorithms: ALGORITHMS,
        clockTolerance: CLOCK_SECONDS,
        requiredClaims: ['exp'],
      }));
    } catch (error) {
      if (isAway(error)) throw away(issuer, error);
      return undefined;
    }
    const name = payload[nameClaim];
    if (typeof name !== 'string' || !/^[^\0-\x20\x7f]{1,200}$/.test(name)) return undefined;
    const given = grants.filter(({ claims }) =>
      Object.entries(claims).every(([claim, value]) => says(payload[claim], value)),
    );
    return { name, grants: given, known: true };
  }

  private async keySet(): Promise<JWTVerifyGetKey> {
    if (this.keys) return this.keys;
    const { issuer, jwksUri } = this.settings;
    const url = new URL(jwksUri ?? (await discover(issuer)));
    this.keys = createRemoteJWKSet(url, { timeoutDuration: FETCH_MS, cooldownDuration: COOL_DOWN_MS });
    return this.keys;
  }
}

/** OpenID Connect Discovery 1.0, section 4. */
async function discover(issuer: string): Promise<string> {
  const response = await fetch(`${issuer.replace(/\/+$/, '')}/.well-known/openid-configuration`, {
    signal: AbortSignal.timeout(FETCH_MS),
    redirect: 'error',
  });
  const metadata = (await response.json()) as { jwks_uri?: unknown };
  if (!response.ok || typeof metadata.jwks_uri !== 'string')
    throw new TypeError(`${issuer} names no keys (status ${response.status})`);
  return metadata.jwks_uri;
}

function issuerOf(token: string): string | undefined {
  try {
    return decodeJwt(token).iss;
  } catch {
    return undefined;
  }
}

const says = (claim: unknown, value: string): boolean =>
  Array.isArray(claim) ? claim.includes(value) : claim === value;

/** What is about the way to the keys, and not about the token: whatever jose says that names no fault of the token. */
function isAway(error: unknown): boolean {
  if (error instanceof errors.JWKSTimeout) return true;
  if (error instanceof errors.JOSEError)
    return error.code === 'ERR_JOSE_GENERIC' || error.code === 'ERR_JWKS_INVALID';
  return true;
}

function away(issuer: string, cause: unknown): ThroughlineError {
  return new ThroughlineError('TL_IDENTITY_UNREACHABLE', `The keys of ${issuer} cannot be had`, {
    found: messageOf(cause),
    cause,
  });
}
