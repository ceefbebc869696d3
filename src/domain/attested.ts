// A release in the form in which it is attested, and answered for: flat, and null where it did not come to something.
import type { BaseImage, NonFinite, Rollback, Stage } from './release.js';

/** A statement that was signed, as it lies beside an artifact. */
export interface SignedStatement {
  /** SHA-256 of the statement, in hex: what is the same of two signatures of it. */
  readonly statement: string;
  readonly predicateType: string;
  /** The artifact, `repository@sha256:…`. */
  readonly beside: string;
  /** A Sigstore bundle. */
  readonly bundle: unknown;
}

/** What of a release is attested: as the workflow knows it, and as the lineage store has it (its answers are of this form). */
export interface AttestedRelease {
  readonly release: string;
  readonly repository: string;
  readonly ref: string;
  readonly planPath: string;
  readonly commit: string | null;
  /** `name@version` */
  readonly dataset: string | null;
  readonly datasetDigest: string | null;
  readonly parameters: Readonly<Record<string, string>>;
  readonly metrics: Readonly<Record<string, number | NonFinite>> | null;
  readonly training: {
    readonly job: string;
    readonly image: string | null;
    readonly startedAt: string | null;
    readonly endedAt: string | null;
  } | null;
  /** Where it brought an earlier release back: that one has made what it deploys. */
  readonly rollback: Rollback | null;
  readonly modelId: string | null;
  readonly modelDigest: string | null;
  readonly modelUri: string | null;
  readonly image: string | null;
  readonly imageDigest: string | null;
  /** What the image was built from, where the builder said so. */
  readonly baseImages: readonly BaseImage[];
  readonly stages: readonly Pick<Stage, 'name' | 'status' | 'startedAt' | 'endedAt'>[];
  readonly deployments: readonly {
    readonly environment: string;
    readonly repository: string;
    readonly manifest: string;
    readonly commit: string;
    readonly from: string | null;
    readonly rollback?: true;
  }[];
}
