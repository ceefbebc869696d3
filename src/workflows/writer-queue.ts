// What the writer of a branch has been asked for, and in which order it is written: in turns among models, so that none
// waits for another's flood, and within a model in the order in which releases were asked for. Pure.
import type { WriterRequest } from '../activities/index.js';
import { type DeploymentKey, keyOf, type WrittenDeployment } from '../domain/gitops.js';

export interface QueuedDeployment {
  readonly change: WriterRequest;
  state: 'waiting' | 'writing' | 'settled';
  written?: WrittenDeployment;
  /** Rounds that ended in an unexpected error with it. */
  failures: number;
}

export class WriterQueue {
  /** In the order of arrival. */
  private entries: QueuedDeployment[] = [];

  /** Adds a deployment. One that is there already is the same: its release asks again after a worker was lost. */
  ask(change: WriterRequest): QueuedDeployment {
    const known = this.find(change);
    if (known) return known;
    const entry: QueuedDeployment = { change, state: 'waiting', failures: 0 };
    this.entries.push(entry);
    return entry;
  }

  find(key: DeploymentKey): QueuedDeployment | undefined {
    return this.entries.find(({ change }) => keyOf(change) === keyOf(key));
  }

  count(state: QueuedDeployment['state']): number {
    return this.entries.filter((entry) => entry.state === state).length;
  }

  /** The next round, of at most so many: one of each model, then another of each. */
  next(most: number): readonly QueuedDeployment[] {
    const models = new Map<string, QueuedDeployment[]>();
    for (const entry of this.entries) {
      if (entry.state !== 'waiting') continue;
      const { model } = entry.change;
      models.set(model, [...(models.get(model) ?? []), entry]);
    }
    for (const entries of models.values()) entries.sort(byRequest);
    const round: QueuedDeployment[] = [];
    for (let turn = 0; round.length < most; turn += 1) {
      const turns = [...models.values()].flatMap((entries) => entries[turn] ?? []);
      if (turns.length === 0) break;
      round.push(...turns.slice(0, most - round.length));
    }
    for (const entry of round) entry.state = 'writing';
    return round;
  }

  settle(entry: QueuedDeployment, written: WrittenDeployment): void {
    entry.written = written;
    entry.state = 'settled';
    this.entries = this.entries.filter((other) => other !== entry);
  }

  /** Back into its place: nothing came of the round. */
  putBack(entry: QueuedDeployment): void {
    entry.state = 'waiting';
  }
}

function byRequest({ change: a }: QueuedDeployment, { change: b }: QueuedDeployment): number {
  return Date.parse(a.requestedAt) - Date.parse(b.requestedAt);
}
