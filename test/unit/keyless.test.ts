// Signatures without a key of one's own: over HTTP against the certificate authority and the transparency log that
// Sigstore's own libraries are tested with. They issue, log and sign; upstream's servers are not run here.
import { createHash, generateKeyPairSync } from 'node:crypto';
import { rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fulcioHandler, initializeCA, initializeCTLog, initializeTLog, rekorHandler } from '@sigstore/mock';
import { HashAlgorithm, PublicKeyDetails, TrustedRoot } from '@sigstore/protobuf-specs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readPolicy } from '../../src/provenance/policy.js';
import { keylessSigner, keySigner, SignatureVerifier, signStatement } from '../../src/provenance/signing.js';
import { STATEMENT_TYPE, type Statement } from '../../src/provenance/statements.js';
import { trustOf } from '../../src/worker/runtimes.js';
import { temporaryDirectory } from '../support/world.js';

const ISSUER = 'https://kubernetes.default.svc';
const WORKER = 'https://kubernetes.io/namespaces/throughline/serviceaccounts/throughline-worker';
const statement: Statement = {
  _type: STATEMENT_TYPE,
  subject: [{ name: 'image', digest: { sha256: 'a'.repeat(64) } }],
  predicateType: 'https://slsa.dev/provenance/v1',
  predicate: { buildDefinition: {} },
};

const directory = temporaryDirectory('keyless');
const token = join(directory, 'token');
const root = join(directory, 'trusted_root.json');
let server: Server;
let url: string;

/** An OIDC token: whether its signature is right is the Fulcio's to say. */
function asWorker(subject: string): void {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  writeFileSync(
    token,
    `${part({ alg: 'RS256' })}.${part({ iss: ISSUER, sub: subject, aud: 'sigstore' })}.c2ln\n`,
  );
}

/** What a Rekor makes of a proposed entry of kind `dsse`: the hashes, and who signed (rekor, pkg/types/dsse). */
function entryOf({ apiVersion, kind, spec }: ProposedEntry): unknown {
  const { envelope, verifiers } = spec.proposedContent;
  const { payload, signatures } = JSON.parse(envelope) as { payload: string; signatures: { sig: string }[] };
  const hash = (data: string | Buffer) => ({
    algorithm: 'sha256',
    value: createHash('sha256').update(data).digest('hex'),
  });
  return {
    ...{ apiVersion, kind },
    spec: {
      envelopeHash: hash(envelope),
      payloadHash: hash(Buffer.from(payload, 'base64')),
      signatures: signatures.map(({ sig }, index) => ({ signature: sig, verifier: verifiers[index] })),
    },
  };
}

interface ProposedEntry {
  readonly apiVersion: string;
  readonly kind: string;
  readonly spec: {
    readonly proposedContent: { readonly envelope: string; readonly verifiers: readonly string[] };
  };
}

/** A Sigstore of its own, and what there is to trust of it. */
async function sigstore(base: string) {
  const keys = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  const ctlog = await initializeCTLog(keys);
  const ca = await initializeCA(keys, ctlog);
  const tlog = await initializeTLog(base, keys);
  const long = { start: new Date(0) };
  const log = (publicKey: Buffer) => ({
    baseUrl: base,
    hashAlgorithm: HashAlgorithm.SHA2_256,
    publicKey: {
      rawBytes: publicKey,
      keyDetails: PublicKeyDetails.PKIX_ECDSA_P256_SHA_256,
      validFor: { ...long, end: undefined },
    },
    logId: { keyId: createHash('sha256').update(publicKey).digest() },
    checkpointKeyId: undefined,
    operator: '',
  });
  const trusted: TrustedRoot = {
    mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
    certificateAuthorities: [
      {
        uri: base,
        subject: undefined,
        certChain: { certificates: [{ rawBytes: Buffer.from(ca.rootCertificate.buffer) }] },
        validFor: { ...long, end: undefined },
        operator: '',
      },
    ],
    tlogs: [log(tlog.publicKey)],
    ctlogs: [log(ctlog.publicKey)],
    timestampAuthorities: [],
  };
  const rekor = rekorHandler(tlog);
  const asRekor = { ...rekor, fn: (body: string) => rekor.fn(JSON.stringify(entryOf(JSON.parse(body)))) };
  return { handlers: [fulcioHandler(ca), asRekor], trusted };
}

beforeAll(async () => {
  let handlers: Awaited<ReturnType<typeof sigstore>>['handlers'] = [];
  server = createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray()).toString('utf8');
    const handler = handlers.find(({ path }) => path === request.url);
    const {
      statusCode,
      response: text,
      contentType,
    } = handler ? await handler.fn(body) : { statusCode: 404, response: '', contentType: undefined };
    response.writeHead(statusCode, { 'content-type': contentType ?? 'text/plain' }).end(text);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const made = await sigstore(url);
  handlers = made.handlers;
  writeFileSync(root, JSON.stringify(TrustedRoot.toJSON(made.trusted)));
  asWorker(WORKER);
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(directory, { recursive: true, force: true });
});

const sign = () => signStatement(statement, keylessSigner({ fulcio: url, rekor: url, token }));
const trusting = (subject: string, issuer = ISSUER, trustedRoot: string | undefined = root) =>
  SignatureVerifier.of({ identities: [{ issuer, subject }], trustedRoot });

describe('a statement that is signed without a key', () => {
  it('is verified by who signed it, offline', async () => {
    const bundle = await sign();
    expect((await trusting(WORKER)).open(bundle)).toEqual({ statement });
    expect((await trusting('https://kubernetes.io/namespaces/throughline/**')).open(bundle)).toEqual({
      statement,
    });
  });

  it.each([
    ['somebody else', 'https://kubernetes.io/namespaces/throughline/serviceaccounts/other', ISSUER],
    ['somebody whose name only begins the same', WORKER.slice(0, -1), ISSUER],
    ['somebody of another issuer', WORKER, 'https://accounts.example'],
  ])('is not by %s', async (_, subject, issuer) =>
    expect((await trusting(subject, issuer)).open(await sign())).toHaveProperty('refused'),
  );

  it('is not by the certificates of another Sigstore', async () => {
    const other = join(directory, 'other_root.json');
    writeFileSync(other, JSON.stringify(TrustedRoot.toJSON((await sigstore(url)).trusted)));
    expect((await trusting(WORKER, ISSUER, other)).open(await sign())).toHaveProperty('refused');
  });

  it('is not where it was changed, or left out of the log', async () => {
    const verifier = await trusting(WORKER);
    const bundle = await sign();
    const changed = structuredClone(bundle);
    const payload = Buffer.from(JSON.stringify({ ...statement, predicate: { buildDefinition: 1 } }));
    if (changed.dsseEnvelope) changed.dsseEnvelope.payload = payload.toString('base64');
    expect(verifier.open(changed)).toHaveProperty('refused');
    const unlogged = structuredClone(bundle);
    unlogged.verificationMaterial.tlogEntries = [];
    expect(verifier.open(unlogged)).toHaveProperty('refused');
  });

  it('takes the token that there is now', async () => {
    asWorker('https://kubernetes.io/namespaces/throughline/serviceaccounts/renewed');
    const bundle = await sign();
    asWorker(WORKER);
    expect((await trusting('**/renewed')).open(bundle)).toEqual({ statement });
  });

  it('is tried again where the Fulcio is away', async () => {
    const away = keylessSigner({ fulcio: 'http://127.0.0.1:9', rekor: url, token });
    await expect(signStatement(statement, away)).rejects.toMatchObject({
      problem: { code: 'TL_SIGNING_FAILED' },
    });
  });

  it('is all that a look for drift believes, where its policy names nobody else', async () => {
    const file = join(directory, 'drift.yaml');
    const key = join(directory, 'signing.pem');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    writeFileSync(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    writeFileSync(
      file,
      `identities: [{ issuer: "${ISSUER}", subject: "${WORKER}" }]\ntrustedRoot: trusted_root.json\n`,
    );
    const byKey = await signStatement(statement, await keySigner(key));
    const held = await trustOf({ driftPolicy: file, signing: { key } });
    expect(held.signatures?.open(await sign())).toEqual({ statement });
    expect(held.signatures?.open(byKey)).toHaveProperty('refused');
    const own = await trustOf({ driftPolicy: undefined, signing: { key } });
    expect(own.signatures?.open(byKey)).toEqual({ statement });
    expect(own.signatures?.open(await sign())).toHaveProperty('refused');
    expect(await trustOf({ driftPolicy: undefined, signing: undefined })).not.toHaveProperty('signatures');
  });

  it('needs a trusted root, and says so', async () => {
    await expect(trusting(WORKER, ISSUER, join(directory, 'nothing'))).rejects.toMatchObject({
      problem: { code: 'TL_CONFIG_INVALID' },
    });
    await expect(
      SignatureVerifier.of({ identities: [{ issuer: ISSUER, subject: WORKER }] }),
    ).rejects.toMatchObject({ problem: { code: 'TL_CONFIG_INVALID', found: 'no trusted root' } });
  });

  it('is held to by a policy, whose files are beside it', async () => {
    const file = join(directory, 'policy.yaml');
    writeFileSync(
      file,
      `identities: [{ issuer: "${ISSUER}", subject: "${WORKER}" }]\ntrustedRoot: trusted_root.json\n`,
    );
    const { identities, trustedRoot } = await readPolicy(file);
    expect((await SignatureVerifier.of({ identities, trustedRoot })).open(await sign())).toEqual({
      statement,
    });
  });
});
