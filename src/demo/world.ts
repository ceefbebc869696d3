// Where a demo takes place: on this machine alone, or on the local cluster. What differs, and nothing else.
import type { PresentedRelease } from '../gateway/present.js';
import type { DemoRepositories } from './repositories.js';

export interface World {
  readonly repositories: DemoRepositories;
  /** What `throughline dev` and its worker are started with. */
  readonly env: NodeJS.ProcessEnv;
  /** Arguments of `throughline dev`. */
  readonly arguments: readonly string[];
  /** The service that runs what the release committed. */
  serve(record: PresentedRelease): Promise<Served>;
  /** The spans of a trace that the demo's backend has by now. */
  trace(id: string): Promise<readonly SeenSpan[]>;
  /** Fields of the result that only this world has. */
  facts(record: PresentedRelease): Record<string, unknown>;
  /** More lines of the chain. */
  chain(record: PresentedRelease): readonly (readonly [string, string])[];
  /** What is left running with `--keep`, line by line, and the commands that end it. */
  kept(): { readonly lines: readonly string[]; readonly end: readonly string[] };
}

export interface Served {
  readonly description: string;
  /** Base addresses; predictions go to one after the other. */
  readonly urls: readonly string[];
  /** Processes of this machine that serve. */
  readonly pids: readonly number[];
  stop(): Promise<void>;
}

export interface SeenSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly name: string;
  readonly service: string;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly events: number;
}
