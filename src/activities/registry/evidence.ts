// The port of what lies beside an image: its own labels and layers, and attestations (OCI referrers).
import type { Digest } from '../../domain/ids.js';

/** A signed statement beside an image. The bundle is whatever somebody put there: it is to be verified. */
export interface Attestation {
  readonly predicateType: string;
  /** ISO 8601. */
  readonly created?: string | undefined;
  readonly bundle: unknown;
}

export interface Evidence {
  readonly digest: Digest;
  readonly labels: Readonly<Record<string, string>>;
  readonly layers: readonly { readonly digest: string; readonly size: number }[];
  readonly attestations: readonly Attestation[];
}

export interface EvidenceStore {
  /** What is there of an image; undefined where there is no such image. */
  of(reference: string, signal?: AbortSignal): Promise<Evidence | undefined>;
  /** Puts attestations beside an image, `repository@sha256:…`. The same one again changes nothing. */
  attest(image: string, attestations: readonly Attestation[], signal?: AbortSignal): Promise<void>;
}
