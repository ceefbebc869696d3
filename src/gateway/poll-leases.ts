// Tells releases that have a lease that their caller still asks for them: now and then, not at every question.
import { messageOf } from '../domain/errors.js';
import type { ReleaseService, ReleaseView } from '../releases/service.js';
import type { Logger } from '../telemetry/log.js';
import type { Caller } from './access/caller.js';

/** A release is told so many times within its lease: each is an event of its history. */
const TIMES = 4;
const MOST_REMEMBERED = 10_000;

export class PollLeases {
  /** When a release was told last, by this gateway. */
  private readonly told = new Map<string, number>();

  constructor(
    private readonly releases: ReleaseService,
    private readonly log: Logger,
  ) {}

  /** Somebody has asked. Nobody waits for the release to be told: the next question does it again. */
  asked({ record, caller: { pollLease, triggeredBy } }: ReleaseView, caller: Caller): void {
    if (pollLease === undefined || record.outcome) return;
    if (triggeredBy !== undefined && triggeredBy !== caller.name) return;
    const { release } = record;
    const due = (this.told.get(release) ?? 0) + (pollLease * 1000) / TIMES;
    if (Date.now() < due) return;
    const [oldest] = this.told.keys();
    if (this.told.size >= MOST_REMEMBERED && oldest !== undefined) this.told.delete(oldest);
    this.told.delete(release); // so that it is the newest
    this.told.set(release, Date.now());
    this.releases.polled(release).catch((error) => {
      this.told.delete(release);
      this.log.warn({ release, error: messageOf(error) }, 'a release was not told that it is asked for');
    });
  }
}
