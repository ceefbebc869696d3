// What should run somewhere, by the lineage, and how what runs differs from it. Plain data: it stands in histories.

/** A model in a manifest of an environment. */
export interface DriftTarget {
  readonly environment: string;
  readonly model: string;
  readonly repository: string;
  readonly branch: string;
  readonly manifest: string;
}

/** What a target has been rolled out to run, and all that is known of it. */
export interface ExpectedState extends DriftTarget {
  /** Null where somebody has put an image there that no release has made. */
  readonly release: string | null;
  /** The commit that said so. */
  readonly commit: string;
  /** `repository:tag` */
  readonly image: string | null;
  readonly imageDigest: string | null;
  readonly modelId: string | null;
  readonly modelDigest: string | null;
  readonly traceId: string | null;
  readonly sourceCommit: string | null;
  readonly dataset: { readonly name: string; readonly version: string } | null;
  readonly workload: { readonly kind: string; readonly namespace: string; readonly name: string } | null;
  /** A release, or a commit by hand, that is just being deployed there: until then nothing can be said. */
  readonly deploying: string | null;
}

/** Something that is not what was released. */
export interface Drift {
  readonly what: 'image' | 'annotation' | 'model' | 'attestation' | 'missing';
  /** The manifest at a commit, a workload, a pod, an image. */
  readonly where: string;
  readonly expected: string;
  readonly found: string;
}

/** What came of looking at a target. */
export interface DriftCheck extends DriftTarget {
  readonly release: string | null;
  readonly drifts: readonly Drift[];
  /** What could not be looked at, and why. */
  readonly unchecked: readonly string[];
}

/** What a check of everything has found. */
export interface DriftSummary {
  readonly checked: number;
  readonly drifted: readonly DriftCheck[];
}

export const targetKey = ({ environment, model, repository, branch, manifest }: DriftTarget): string =>
  JSON.stringify([environment, model, repository, branch, manifest]);

/** Of what two looks at a target have found, what both have: a roll-out, or a hand at work, is seen once. */
export function seenTwice(first: readonly Drift[], second: readonly Drift[]): Drift[] {
  const place = ({ where }: Drift) => where.replace(/ at [0-9a-f]{12}/, '');
  return second.filter((drift) =>
    first.some((other) => drift.what === other.what && place(drift) === place(other)),
  );
}
