// The order in which the writer of a branch writes what it has been asked for.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyOf } from '../../src/domain/gitops.js';
import { WriterQueue } from '../../src/workflows/writer-queue.js';
import { deploymentOf } from '../support/gitops.js';

const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString();
const asked = (model: string, release: string, seconds = 0) =>
  deploymentOf('file:///gitops', model, release, { requestedAt: at(seconds) });
const namesOf = (round: ReturnType<WriterQueue['next']>) => round.map(({ change }) => change.release);

describe('the queue of a writer', () => {
  it('takes turns among models, whoever floods it', () => {
    const queue = new WriterQueue();
    for (let index = 0; index < 5; index += 1) queue.ask(asked('app-1', `flood-${index}`, index));
    queue.ask(asked('app-2', 'two'));
    queue.ask(asked('app-3', 'three'));
    expect(namesOf(queue.next(4))).toEqual(['flood-0', 'two', 'three', 'flood-1']);
  });

  it('writes releases of a model in the order in which they were asked for, not of their arrival', () => {
    const queue = new WriterQueue();
    queue.ask(asked('app-1', 'later', 2));
    queue.ask(asked('app-1', 'sooner', 1));
    expect(namesOf(queue.next(10))).toEqual(['sooner', 'later']);
  });

  it('I3: knows who asks again, also while it is being written', () => {
    const queue = new WriterQueue();
    const first = queue.ask(asked('app-1', 'once'));
    expect(queue.ask(asked('app-1', 'once'))).toBe(first);
    queue.next(10);
    expect(queue.ask(asked('app-1', 'once'))).toBe(first);
    expect(queue.next(10)).toEqual([]);
  });

  it('gives every deployment one place in one round at a time, and leaves none', () => {
    const arrivals = fc.array(fc.tuple(fc.nat(4), fc.nat(30)), { maxLength: 60 });
    fc.assert(
      fc.property(
        arrivals,
        fc.integer({ min: 1, max: 7 }),
        fc.infiniteStream(fc.boolean()),
        (list, most, lost) => {
          const queue = new WriterQueue();
          const changes = list.map(([model, seconds], index) =>
            asked(`app-${model}`, `rel-${index}`, seconds),
          );
          for (const change of changes) queue.ask(change);
          const written: string[] = [];
          let tries = 0;
          for (let round = queue.next(most); round.length > 0; round = queue.next(most)) {
            expect(round.length).toBeLessThanOrEqual(most);
            expect(queue.count('writing')).toBe(round.length);
            // Fair: no model has two more places than another that still waits for one.
            const places = new Map<string, number>();
            for (const { change } of round) places.set(change.model, (places.get(change.model) ?? 0) + 1);
            const highest = Math.max(...places.values());
            for (const change of changes) {
              const entry = queue.find(change);
              if (entry?.state === 'waiting')
                expect(highest - (places.get(change.model) ?? 0)).toBeLessThanOrEqual(1);
            }
            const isLost = tries < 20 && lost.next().value === true;
            tries += 1;
            for (const entry of round) {
              if (isLost) queue.putBack(entry);
              else {
                written.push(keyOf(entry.change));
                queue.settle(entry, { withdrawn: true });
              }
            }
          }
          expect([...written].sort()).toEqual(changes.map(keyOf).sort());
          expect(queue.count('waiting') + queue.count('writing')).toBe(0);
        },
      ),
      { numRuns: 200 },
    );
  });
});
