// The port of training: something that runs a Job to its end, once, whatever dies (I2).
import type { CommitSha, ReleaseId } from '../../domain/ids.js';
import type { Observation } from '../../domain/observation.js';
import type { PodRecord, TrainedModel } from '../../domain/release.js';
import type { TraceCarrier } from '../../domain/trace.js';
import type { JobManifest } from '../../plan/index.js';

/** Everything a Job is made of. Serializable: it comes out of the workflow's history. */
export interface TrainingJob {
  /** Derived from the release and its configuration: the same in every attempt (I2). On Kubernetes NAMESPACE/NAME. */
  readonly name: string;
  readonly release: ReleaseId;
  readonly model: string;
  readonly repository: string;
  readonly commit: CommitSha;
  /** As histories keep it: without the environment and the commands of its containers (I9). */
  readonly manifest: JobManifest;
  /** Where all of it stands at the commit; what 0.1.0 began has it all in the history. */
  readonly manifestPath?: string | undefined;
  /** The training container's image, by digest; as the manifest says where there is none. */
  readonly image?: string | undefined;
  /** Repository that the model is pushed to where the program itself pushes none; on Kubernetes. */
  readonly modelRepository?: string | undefined;
  /** The directory of the training program, from the root of the repository. */
  readonly context: string;
  readonly dataset: { readonly name: string; readonly version: string };
  readonly parameters: Readonly<Record<string, string>>;
  /** Of a Job that trains nothing, but checks a deployment: the environment that it checks. */
  readonly verifies?: string | undefined;
  /** Seconds, from the first start. */
  readonly timeout: number;
  /** The context of the `train` stage, from history: every pod of every attempt gets this one (DESIGN §5.1). */
  readonly trace: TraceCarrier;
}

/** What runs, as the subject of a sentence. */
export const programOf = ({ model, verifies }: TrainingJob): string =>
  verifies === undefined ? `The training program of ${model}` : `The check of ${model} in ${verifies}`;

/** A Job that has succeeded, of which nothing else is wanted. */
export interface CompletedJob {
  /** How many pods (locally: processes) it needed, the last one included. */
  readonly attempts: number;
}

export interface RunOptions {
  readonly signal: AbortSignal;
  /** Called with what is being done or waited for, in a person's words. */
  readonly report: (doing: string) => void;
}

/** What the attempts of one activity tell each other, by heartbeat. */
export interface Memory {
  /** What the last attempt that remembered something remembered. */
  readonly remembered: unknown;
  readonly remember: (value: unknown) => void;
  /** What was seen, for the trace; what was seen before under the same id is replaced. */
  readonly observe: (...observations: Observation[]) => void;
}

/** Where a Job will be, as far as the runtime decides it. */
export interface JobPlacement {
  readonly namespace?: string | undefined;
}

/** Where a log begins: the place that its first page is asked from. */
export const LOG_START = '1:0';

export interface LogPage {
  readonly text: string;
  /** Where the next page begins: opaque to callers, handed back to get it. */
  readonly next: string;
  /** No more will come. */
  readonly complete: boolean;
}

export interface JobRunner {
  /** Throws where this runtime could not run the manifest. Touches nothing. */
  check(manifest: JobManifest): Promise<JobPlacement>;
  /** Starts the Job or adopts it, also a finished one, and waits for its result. Aborting leaves it running. */
  run(job: TrainingJob, options: RunOptions & Memory): Promise<TrainedModel>;
  /** The same for a Job that is done where it succeeds, and hands over no model. */
  complete(job: TrainingJob, options: RunOptions & Memory): Promise<CompletedJob>;
  /** Lets go of a finished Job: its result is in history, and whoever wants to may remove it. */
  settle(name: string, options: RunOptions): Promise<void>;
  /** Ends the Job, if there is one, so that it cannot start again; returns when nothing of it is left (I6). */
  stop(name: string, options: RunOptions): Promise<void>;
  /** A page of the Job's log, from a place that an earlier page gave; from the last page's worth where none is given. */
  log(name: string, from: string | undefined, bytes: number): Promise<LogPage>;
}

export type { PodRecord };
