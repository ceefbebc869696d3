// Signatures of statements: DSSE envelopes in Sigstore bundles, by the Sigstore libraries. A key comes from a file, or
// stays where it is and signs by a command; what is signed verifies with cosign, too.
import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import {
  type Bundle,
  bundleFromJSON,
  bundleToJSON,
  isBundleWithDsseEnvelope,
  type SerializedBundle,
} from '@sigstore/bundle';
import { DSSEBundleBuilder, type Signer } from '@sigstore/sign';
import { toSignedEntity, Verifier } from '@sigstore/verify';
import { messageOf, ThroughlineError } from '../domain/errors.js';
import { STATEMENT_TYPE, type Statement } from './statements.js';

export type { Signer as StatementSigner } from '@sigstore/sign';

/** in-toto Attestation Framework, "Envelope". */
const PAYLOAD_TYPE = 'application/vnd.in-toto+json';
const COMMAND_TIMEOUT_MS = 60_000;

/** Signs with a private key in PEM. Throws TL_CONFIG_INVALID. */
export async function keySigner(file: string): Promise<Signer> {
  const key = await readKey(file, createPrivateKey);
  const publicKey = createPublicKey(key);
  const hash = hashOf(key);
  return {
    sign: async (data) => ({ signature: sign(hash, data, key), key: material(publicKey) }),
  };
}

/**
 * Signs by a command, as a key management service has one: it gets the bytes on standard input, and answers with the
 * signature, as bytes or in base64. No shell runs it.
 */
export async function commandSigner(command: string, publicKeyFile: string): Promise<Signer> {
  const publicKey = await readKey(publicKeyFile, createPublicKey);
  const [program = '', ...parameters] = command.trim().split(/\s+/);
  return {
    sign: async (data) => ({
      signature: asSignature(await run(program, parameters, data)),
      key: material(publicKey),
    }),
  };
}

/** As configured. Throws TL_CONFIG_INVALID. */
export function signerOf(
  settings: { readonly key: string } | { readonly command: string; readonly publicKey: string },
): Promise<Signer> {
  return 'key' in settings ? keySigner(settings.key) : commandSigner(settings.command, settings.publicKey);
}

/** The file that a verifier of what it signs reads: of a private key it takes the public one. */
export const publicKeyOf = (
  settings: { readonly key: string } | { readonly command: string; readonly publicKey: string },
): string => ('key' in settings ? settings.key : settings.publicKey);

/** A signed statement, as it lies beside an image. */
export async function signStatement(statement: Statement, signer: Signer): Promise<SerializedBundle> {
  const builder = new DSSEBundleBuilder({ signer, witnesses: [] });
  const data = Buffer.from(JSON.stringify(statement));
  return bundleToJSON(await builder.create({ data, type: PAYLOAD_TYPE }));
}

/** Checks signatures against public keys, and nothing else: no clock, no network. */
export class SignatureVerifier {
  private constructor(private readonly verifiers: readonly Verifier[]) {}

  /** Public keys in PEM; any of them may have signed. Throws TL_CONFIG_INVALID. */
  static async of(files: readonly string[]): Promise<SignatureVerifier> {
    const keys = await Promise.all(files.map((file) => readKey(file, createPublicKey)));
    return new SignatureVerifier(
      keys.map((publicKey) => {
        const trust = {
          certificateAuthorities: [],
          timestampAuthorities: [],
          tlogs: [],
          ctlogs: [],
          publicKey: () => ({ publicKey, validFor: () => true }),
        };
        return new Verifier(trust, { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 });
      }),
    );
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
    const errors = this.verifiers.map((verifier) => {
      try {
        verifier.verify(toSignedEntity(bundle));
        return undefined;
      } catch (error) {
        return messageOf(error);
      }
    });
    if (!errors.includes(undefined)) return { refused: `its signature is none of these keys’: ${errors[0]}` };
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
