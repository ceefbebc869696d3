// How releases reach the writer of a GitOps branch (workflows/gitops-writer.ts): what is asked for in this process at the
// same time is sent as one update, and one is under way at a time. Temporal takes ten updates at once of a workflow, and
// some thousand in all; a hundred releases with an update each would be put off.
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  WithStartWorkflowOperation,
  type Workflow,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateStage,
} from '@temporalio/client';
import type { WriterRequest } from '../activities/index.js';
import { messageOf } from '../domain/errors.js';
import {
  type DeploymentKey,
  type GitOpsBranch,
  keyOf,
  type WriterState,
  type WrittenDeployment,
} from '../domain/gitops.js';
import {
  WITHDRAW_UPDATE,
  WRITE_UPDATE,
  WRITER_STATE_QUERY,
  WRITER_WORKFLOW,
  writerIdOf,
} from '../domain/temporal-names.js';
import { unlessAborted } from '../git/index.js';
import type { Logger } from '../telemetry/log.js';

/** Of one update: what it holds stays well below Temporal's limit for a payload. */
const MAX_ASKED = 200;
/** An answer that takes longer than this is explained to whoever waits, this often. Milliseconds. */
const EXPLAINED_EVERY_MS = 3_000;
/** Between tries to reach the writer. Milliseconds. */
const FIRST_BACK_OFF_MS = 50;
const LAST_BACK_OFF_MS = 5_000;

export interface DeskOptions {
  readonly client: Client;
  readonly taskQueue: string;
  readonly log: Logger;
  /** Seconds after which a writer ends that nobody asks for anything. */
  readonly idleSeconds?: number | undefined;
}

export interface AskOptions {
  readonly signal: AbortSignal;
  readonly report: (doing: string) => void;
}

export class GitOpsDesk {
  private readonly branches = new Map<string, BranchDesk>();
  private readonly closing = new AbortController();

  constructor(private readonly options: DeskOptions) {}

  /**
   * Asks the branch's writer for a deployment, and waits for its answer. Where the signal is sooner, what has been asked for
   * is still written, or has to be withdrawn.
   */
  write(change: WriterRequest, options: AskOptions): Promise<WrittenDeployment> {
    return this.branch(change).write(change, options);
  }

  /** Takes back what has not been written; gives what the writer knows of it. Waits for a push that is under way. */
  withdraw(
    branch: GitOpsBranch,
    key: DeploymentKey,
    signal: AbortSignal,
  ): Promise<WrittenDeployment | undefined> {
    return this.branch(branch).withdraw(key, signal);
  }

  /** What is under way goes on in the writer; a next process asks again. */
  close(): void {
    this.closing.abort(new Error('The worker stops'));
    for (const branch of this.branches.values()) branch.close();
  }

  private branch({ repository, branch }: GitOpsBranch): BranchDesk {
    const id = writerIdOf(repository, branch);
    const known =
      this.branches.get(id) ?? new BranchDesk(id, { repository, branch }, this.options, this.closing.signal);
    this.branches.set(id, known);
    return known;
  }
}

interface Asked {
  readonly change: WriterRequest;
  readonly answer: Promise<WrittenDeployment>;
  readonly resolve: (written: WrittenDeployment) => void;
  readonly reject: (error: unknown) => void;
  /** How often the activity is told what it waits for. */
  readonly reports: Set<(doing: string) => void>;
  /** Resolves when the writer has it, and can be asked to take it back. */
  accepted: Promise<void> | undefined;
}

class BranchDesk {
  /** By release and environment: an attempt that follows another one joins it. */
  private readonly asked = new Map<string, Asked>();
  private waiting: Asked[] = [];
  private sending = false;

  constructor(
    private readonly id: string,
    private readonly branch: GitOpsBranch,
    private readonly options: DeskOptions,
    private readonly closing: AbortSignal,
  ) {}

  async write(change: WriterRequest, { signal, report }: AskOptions): Promise<WrittenDeployment> {
    report('waiting for the writer of the branch');
    const asked = this.asked.get(keyOf(change)) ?? this.ask(change);
    asked.reports.add(report);
    try {
      return await unlessAborted(asked.answer, signal);
    } finally {
      asked.reports.delete(report);
    }
  }

  close(): void {
    for (const { reject } of this.asked.values()) reject(this.closing.reason);
  }

  async withdraw(key: DeploymentKey, signal: AbortSignal): Promise<WrittenDeployment | undefined> {
    const asked = this.asked.get(keyOf(key));
    if (asked && !asked.accepted) {
      this.waiting = this.waiting.filter((other) => other !== asked);
      this.settle(asked, { withdrawn: true });
      return { withdrawn: true };
    }
    // An update that is on its way could arrive after this one.
    await unlessAborted(asked?.accepted ?? Promise.resolve(), signal);
    const handle = this.options.client.workflow.getHandle(this.id);
    try {
      return await handle.executeUpdate<WrittenDeployment | undefined, [DeploymentKey]>(WITHDRAW_UPDATE, {
        args: [key],
      });
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined; // no writer: nothing waits
      throw error;
    }
  }

  private ask(change: WriterRequest): Asked {
    const { promise: answer, resolve, reject } = withResolvers<WrittenDeployment>();
    answer.catch(() => undefined); // nobody may wait any more
    const asked: Asked = { change, answer, resolve, reject, reports: new Set(), accepted: undefined };
    this.asked.set(keyOf(change), asked);
    this.waiting.push(asked);
    if (!this.sending) void this.send();
    return asked;
  }

  private settle(asked: Asked, written: WrittenDeployment): void {
    this.asked.delete(keyOf(asked.change));
    asked.resolve(written);
  }

  private async send(): Promise<void> {
    this.sending = true;
    await new Promise(setImmediate); // with what is asked for at the same moment
    while (this.waiting.length > 0 && !this.closing.aborted) {
      const batch = this.waiting.splice(0, MAX_ASKED);
      const explaining = setInterval(() => void this.explain(batch), EXPLAINED_EVERY_MS);
      const answers = await this.answersTo(batch);
      clearInterval(explaining);
      batch.forEach((asked, index) => {
        const written = answers?.[index];
        if (written) this.settle(asked, written);
      });
    }
    this.sending = false;
  }

  /** Asks until the writer has answered: it may be between two runs, or Temporal away. */
  private async answersTo(batch: readonly Asked[]): Promise<readonly WrittenDeployment[] | undefined> {
    for (let tries = 0; !this.closing.aborted; tries += 1) {
      try {
        return await this.update(batch);
      } catch (error) {
        const pause = Math.min(FIRST_BACK_OFF_MS * 2 ** tries, LAST_BACK_OFF_MS) * (0.5 + Math.random());
        const why = error instanceof WorkflowUpdateFailedError ? messageOf(error.cause) : messageOf(error);
        this.options.log.debug({ writer: this.id, error: why }, 'the writer is asked again');
        if (tries >= 3) tell(batch, `waiting for the writer of the branch, which does not answer: ${why}`);
        await sleep(pause, undefined, { signal: this.closing }).catch(() => undefined);
      }
    }
    return undefined;
  }

  private async update(batch: readonly Asked[]): Promise<readonly WrittenDeployment[]> {
    const { client, taskQueue, idleSeconds } = this.options;
    const started = new WithStartWorkflowOperation(WRITER_WORKFLOW, {
      workflowId: this.id,
      taskQueue,
      args: [this.branch, { idleSeconds }],
      workflowIdConflictPolicy: 'USE_EXISTING',
      staticSummary: 'writes what releases deploy to this branch',
    });
    started.workflowHandle().catch(() => undefined); // the update says it too
    const { promise, resolve } = withResolvers<void>();
    for (const asked of batch) asked.accepted = promise;
    try {
      const handle = await client.workflow.startUpdateWithStart<
        Workflow,
        readonly WrittenDeployment[],
        [readonly WriterRequest[]]
      >(WRITE_UPDATE, {
        args: [batch.map(({ change }) => change)],
        waitForStage: WorkflowUpdateStage.ACCEPTED,
        startWorkflowOperation: started,
      });
      resolve();
      return await handle.result();
    } finally {
      resolve();
    }
  }

  private async explain(batch: readonly Asked[]): Promise<void> {
    const handle = this.options.client.workflow.getHandle(this.id);
    // Not for longer than until the next time: a client goes on trying after its connection is closed.
    const state = await this.options.client.connection
      .withDeadline(Date.now() + EXPLAINED_EVERY_MS, () => handle.query<WriterState>(WRITER_STATE_QUERY))
      .catch(() => undefined);
    if (!state) return;
    const others = Math.max(0, state.waiting + state.writing - 1);
    const why = state.problem ? `: ${state.problem.message} [${state.problem.code}]` : '';
    tell(batch, `waiting for the writer of the branch, with ${others} others${why}`);
  }
}

function tell(batch: readonly Asked[], doing: string): void {
  for (const { reports } of batch) for (const report of reports) report(doing);
}

interface Resolvers<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/** As `Promise.withResolvers`, which Node has since version 22. */
function withResolvers<T>(): Resolvers<T> {
  let resolve: Resolvers<T>['resolve'] = () => undefined;
  let reject: Resolvers<T>['reject'] = () => undefined;
  const promise = new Promise<T>((...settle) => {
    [resolve, reject] = settle;
  });
  return { promise, resolve, reject };
}
