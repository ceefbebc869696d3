// Branded identifiers: parsed once at the edge, then trusted. A plain string never becomes one without its parser.
// Free of I/O and of Node: workflow code uses it too.
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex, utf8ToBytes } from '@noble/hashes/utils.js';
import { ThroughlineError } from './errors.js';

declare const brand: unique symbol;
type Branded<Name extends string> = string & { readonly [brand]: Name };

/** `rel-` and 20 base-32 digits; also the workflow id. A DNS label, so it can stand in Kubernetes names. */
export type ReleaseId = Branded<'ReleaseId'>;
/** `sha256:` and 64 hex digits (OCI image specification, "Digests"). */
export type Digest = Branded<'Digest'>;
/** The full 40 hex digits of a git commit. */
export type CommitSha = Branded<'CommitSha'>;

const HEX40 = /^[0-9a-f]{40}$/;
const DIGEST = /^sha256:[0-9a-f]{64}$/;
const RELEASE = /^rel-[a-z2-7]{20}$/;

export function parseCommitSha(text: string): CommitSha {
  if (!HEX40.test(text)) {
    throw new ThroughlineError('TL_REF_NOT_FOUND', 'Not a full commit id', {
      expected: '40 hex digits',
      found: text.slice(0, 80),
    });
  }
  return text as CommitSha;
}

export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && DIGEST.test(text);
}

/** The digest at the end of an image's reference, or of what a runtime calls it; undefined where it has none. */
export function digestOf(reference: string | null | undefined): Digest | undefined {
  return /sha256:[0-9a-f]{64}$/.exec(reference ?? '')?.[0] as Digest | undefined;
}

/** A tag is what follows the last colon; a colon before a slash is a port's. */
const TAG = /:([^:/]+)$/;

/** Repository and tag of an image's name, which has no digest. */
export function splitImage(name: string): { repository: string; tag: string | undefined } {
  return { repository: name.replace(TAG, ''), tag: TAG.exec(name)?.[1] };
}

/** Use where the text comes from a program that must have printed a digest (a builder, a registry). */
export function parseDigest(text: string): Digest {
  if (!isDigest(text)) {
    throw new ThroughlineError('TL_INTERNAL', 'Not a digest', {
      expected: 'sha256: and 64 hex digits',
      found: text.slice(0, 80),
    });
  }
  return text;
}

export function isReleaseId(text: string): text is ReleaseId {
  return RELEASE.test(text);
}

/** The sha256 of a text, as hex digits. */
export function sha256Hex(text: string): string {
  return bytesToHex(sha256(utf8ToBytes(text)));
}

const BASE32 = 'abcdefghijklmnopqrstuvwxyz234567'; // RFC 4648, section 6, in lower case

function base32(bytes: Uint8Array, digits: number): string {
  let text = '';
  let bits = 0;
  let pending = 0;
  for (const byte of bytes) {
    pending = (pending << 8) | byte;
    bits += 8;
    while (bits >= 5 && text.length < digits) {
      bits -= 5;
      text += BASE32[(pending >>> bits) & 31];
    }
    pending &= 0xff;
  }
  return text;
}

/** I1: the id is a function of the idempotency key, so every gateway gives the same key the same release. */
export function releaseIdOf(idempotencyKey: string): ReleaseId {
  return `rel-${base32(sha256(utf8ToBytes(`throughline release\n${idempotencyKey}`)), 20)}` as ReleaseId;
}

/**
 * I2: the name of the one Job of a release and a training configuration; every attempt derives the same name.
 * At most 63 characters, a DNS label (Kubernetes, "Object Names and IDs").
 */
export function jobNameOf(release: ReleaseId, model: string, configuration: string): string {
  const digest = sha256Hex(`job\n${release}\n${configuration}`).slice(0, 6);
  const prefix = model
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, '-')
    .slice(0, 28)
    .replace(/^-+|-+$/g, '');
  return `${prefix || 'model'}-${release.slice('rel-'.length)}-${digest}`;
}
