// The port of registries: what a name stands for.
import type { Digest } from '../../domain/ids.js';

export interface Registry {
  /** Throws TL_TOOL_MISSING where registries cannot be asked. */
  check(): Promise<void>;
  /** The digest behind a reference; undefined where the registry has none. A reference by digest is answered unasked. */
  digest(reference: string, signal: AbortSignal): Promise<Digest | undefined>;
}
