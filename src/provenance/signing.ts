// Signatures of statements: DSSE envelopes in Sigstore bundles, by the Sigstore libraries. A key comes from a file, or
// stays where it is and signs by a command; or there is none, and a Fulcio vouches for an identity for a moment, which a
// Rekor remembers. What is signed verifies with cosign, too.
import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import {
  type Bundle,
  type BundleWithDsseEnvelope,
  bundleFromJSON,
  bundleToJSON,
  isBundleWithDsseEnvelope,
  type SerializedBundle,
} from '@sigstore/bundle';
import { TrustedRoot } from '@sigstore/protobuf-specs';
import { DSSEBundleBuilder, FulcioSigner, RekorWitness, type Signer, type Witness } from '@sigstore/sign';
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import { matches } from '../domain/patterns.js';
import { STATEMENT_TYPE, type Statement } from './statements.js';

/** What signs, and who has seen it. */
export interface StatementSigner {
  readonly signer: Signer;
  readonly witnesses: readonly Witness[];
}

export type SigningSettings =
  | { readonly key: string }
  | { readonly command: string; readonly publicKey: string }
  | {
      readonly fulcio: string;
      readonly rekor: string;
      /** File with an OIDC token that the Fulcio takes; read each time, because such tokens are renewed. */
      readonly token: string;
    };

/** in-toto Attestation Framework, "Envelope". */
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const COMMAND_TIMEOUT_MS = 60_000;

/** Signs with a private key in PEM. Throws TL_CONFIG_INVALID. */
export async function keySigner(file: string): Promise<StatementSigner> {
  const key = await readKey(file, createPrivateKey);
  const publicKey = createPublicKey(key);
  const hash = hashOf(key);
  return {
    signer: { sign: async (data) => ({ signature: sign(hash, data, key), key: material(publicKey) }) },
    witnesses: [],
  };
}

/**
 * Signs by a command, as a key management service has one: it gets the bytes on standard input, and answers with the
 * signature, as bytes or in base64. No shell runs it.
 */
export async function commandSigner(command: string, publicKeyFile: string): Promise<StatementSigner> {
  const publicKey = await readKey(publicKeyFile, createPublicKey);
  const [program = '', ...parameters] = command.trim().split(/\s+/);
  return {
    signer: {
      sign: async (data) => ({
        signature: asSignature(await run(program, parameters, data)),
        key: material(publicKey),
      }),
    },
    witnesses: [],
  };
}

/** Signs with a key of the moment, for which a Fulcio vouches, and lets a Rekor remember that. */
export function keylessSigner({
  fulcio,
  rekor,
  token,
}: Extract<SigningSettings, { fulcio: string }>): StatementSigner {
  const identityProvider = { getToken: async () => (await readFile(token, 'utf8')).trim() };
  return {
    signer: new FulcioSigner({ fulcioBaseURL: fulcio, identityProvider, ...SERVICE }),
    witnesses: [new RekorWitness({ rekorBaseURL: rekor, entryType: 'dsse', ...SERVICE })],
  };
}

/** A service that is away is the activity's to wait for. */
const SERVICE = { timeout: 15_000, retry: 1 };

/** As configured. Throws TL_CONFIG_INVALID. */
export async function signerOf(settings: SigningSettings): Promise<StatementSigner> {
  if ('key' in settings) return keySigner(settings.key);
  if ('command' in settings) return commandSigner(settings.command, settings.publicKey);
  return keylessSigner(settings);
}

/** The file that a verifier of what it signs reads: of a private key it takes the public one. */
export function publicKeyOf(settings: SigningSettings): string | undefined {
  if ('key' in settings) return settings.key;
  return 'command' in settings ? settings.publicKey : undefined;
}

/** A signed statement, as it lies beside an image. */
export async function signStatement(
  statement: Statement,
  { signer, witnesses }: StatementSigner,
): Promise<SerializedBundle> {
  const builder = new DSSEBundleBuilder({ signer, witnesses: [...witnesses] });
  const data = Buffer.from(JSON.stringify(statement));
  try {
    return bundleToJSON(await builder.create({ data, type: PAYLOAD_TYPE }));
  } catch (cause) {
    if (cause instanceof ThroughlineError) throw cause;
    throw new ThroughlineError('TL_SIGNING_FAILED', 'A statement could not be signed', {
      found: [messageOf(cause), messageOf((cause as Error).cause ?? '')].filter(Boolean).join(': '),
      cause,
    });
  }
}

/** Who may have signed. */
export interface Trusted {
  /** Files with public keys in PEM. */
  readonly keys?: readonly string[];
  readonly identities?: readonly Identity[];
  /** File with the certificates of Fulcio and the keys of Rekor (Sigstore's trusted_root.json); with identities. */
  readonly trustedRoot?: string | undefined;
}

/** Whom a Fulcio has vouched for. */
export interface Identity {
  readonly issuer: string;
  /** The certificate's subject alternative name; `*` and `**` as in a policy. */
  readonly subject: string;
}

/** One of those who may have signed. */
type Check = (bundle: BundleWithDsseEnvelope) => void;

/** Checks signatures against public keys and identities, and nothing else: no clock, no network. */
export class SignatureVerifier {
  private constructor(private readonly checks: readonly Check[]) {}

  /** Any of them may have signed. Throws TL_CONFIG_INVALID. */
  static async of({ keys = [], identities = [], trustedRoot }: Trusted): Promise<SignatureVerifier> {
    const known = await Promise.all(keys.map((file) => readKey(file, createPublicKey)));
    return new SignatureVerifier([
      ...known.map(keyCheck),
      ...(identities.length > 0 ? await identityChecks(identities, trustedRoot) : []),
    ]);
  }

  /** The statement of a bundle; or why it is not to be believed. */
  open(serialized: unknown): { readonly statement: Statement } | { readonly refused: string } {
    let bundle: Bundle;
    try {
      bundle = bundleFromJSON(serialized);
    } catch (error) {
      return { refused: `it is no Sigstore bundle: ${messageOf(error)}` };
    }
    if (!isBundleWithDsseEnvelope(bundle)) return { refused: 'it is no signed statement' };
    const errors = this.checks.map((check) => {
      try {
        check(bundle);
        return undefined;
      } catch (error) {
        return messageOf(error);
      }
    });
    if (!errors.includes(undefined))
      return { refused: `nobody who is trusted here has signed it: ${errors[0]}` };
    const { payload, payloadType } = bundle.content.dsseEnvelope;
    if (payloadType !== PAYLOAD_TYPE) return { refused: `it is signed, and no statement: ${payloadType}` };
    try {
      const statement = JSON.parse(payload.toString('utf8')) as Statement;
      if (statement._type !== STATEMENT_TYPE || !Array.isArray(statement.subject))
        throw new Error('another type');
      return { statement };
    } catch (error) {
      return { refused: `it is signed, and no in-toto statement: ${messageOf(error)}` };
    }
  }
}

function keyCheck(publicKey: KeyObject): Check {
  const trust = {
    certificateAuthorities: [],
    timestampAuthorities: [],
    tlogs: [],
    ctlogs: [],
    publicKey: () => ({ publicKey, validFor: () => true }),
  };
  const verifier = new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
  return (bundle) => verifier.verify(toSignedEntity(bundle));
}

async function identityChecks(identities: readonly Identity[], file: string | undefined): Promise<Check[]> {
  const invalid = (found: string) =>
    new ThroughlineError('TL_CONFIG_INVALID', 'Identities cannot be verified', {
      expected: 'the file trusted_root.json of the Sigstore whose Fulcio and Rekor they are of',
      found,
    });
  if (!file) throw invalid('no trusted root');
  let trust: ReturnType<typeof toTrustMaterial>;
  try {
    trust = toTrustMaterial(TrustedRoot.fromJSON(JSON.parse(await readFile(file, 'utf8'))));
  } catch (error) {
    throw invalid(`${file}: ${messageOf(error)}`);
  }
  // A Sigstore of one's own may have no log of certificates.
  const verifier = new Verifier(trust, {
    tlogThreshold: 1,
    ctlogThreshold: trust.ctlogs.length > 0 ? 1 : 0,
    timestampThreshold: 1,
  });
  return identities.map(({ issuer, subject }) => (bundle) => {
    const { identity } = verifier.verify(toSignedEntity(bundle));
    if (identity?.extensions?.issuer !== issuer || !matches(subject, identity.subjectAlternativeName ?? ''))
      throw new Error(
        `it was ${identity?.subjectAlternativeName ?? 'nobody'} of ${identity?.extensions?.issuer ?? 'nowhere'}`,
      );
  });
}

/** What was signed, without any check: to see whether the same was signed before. */
export function payloadOf(serialized: unknown): string | undefined {
  const envelope = (serialized as { dsseEnvelope?: { payload?: unknown } } | null)?.dsseEnvelope;
  return typeof envelope?.payload === 'string'
    ? Buffer.from(envelope.payload, 'base64').toString('utf8')
    : undefined;
}

async function readKey(file: string, parse: (pem: string) => KeyObject): Promise<KeyObject> {
  try {
    return parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new ThroughlineError('TL_CONFIG_INVALID', `The key ${file} cannot be used`, {
      expected:
        'PEM: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out signing.pem; openssl pkey -in signing.pem -pubout -out signing.pub',
      found: messageOf(cause), // never the key itself (I9)
    });
  }
}

/** P-256 with SHA-256 is what every verifier of Sigstore's takes; an Ed25519 key brings its own hash. */
function hashOf(key: KeyObject): 'sha256' | null {
  const curve = key.asymmetricKeyDetails?.namedCurve;
  if (key.asymmetricKeyType === 'ed25519') return null;
  if (curve === 'prime256v1') return 'sha256';
  throw new ThroughlineError('TL_CONFIG_INVALID', 'The signing key is of a kind that is not used here', {
    expected: 'an EC key of the curve P-256, or an Ed25519 key',
    found: [key.asymmetricKeyType, curve].filter(Boolean).join(' '),
  });
}

/** Without a hint, which would become the envelope's `keyid`: verifiers in Go compare that with an id of their own making. */
function material(key: KeyObject) {
  const publicKey = key.export({ type: 'spki', format: 'pem' }).toString();
  return { $case: 'publicKey' as const, publicKey };
}

/** Base64 where all of it is; a signature in DER begins with a byte that base64 does not have at its begin. */
function asSignature(output: Buffer): Buffer {
  const text = output.toString('latin1').trim();
  return /^[A-Za-z0-9+/]+={0,2}$/.test(text) && text.length % 4 === 0 ? Buffer.from(text, 'base64') : output;
}

function run(program: string, parameters: readonly string[], input: Buffer): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const failed = (found: string) =>
      reject(new ThroughlineError('TL_SIGNING_FAILED', `The signing command ${program} failed`, { found }));
    const child = spawn(program, [...parameters], { timeout: COMMAND_TIMEOUT_MS });
    const out: Buffer[] = [];
    let complaint = '';
    child.stdout.on('data', (data: Buffer) => out.push(data));
    child.stderr.on('data', (data: Buffer) => {
      complaint = (complaint + data.toString('utf8')).slice(-500);
    });
    child.once('error', (error) => failed(error.message));
    child.once('close', (code) =>
      code === 0 ? resolve(Buffer.concat(out)) : failed(`exit code ${code}: ${complaint}`),
    );
    child.stdin.on('error', () => undefined); // it ended without reading: its exit code says why
    child.stdin.end(input);
  });
}
