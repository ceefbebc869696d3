// Waiting for a person: durably, until a deadline. A decision is an update, so that whoever makes it is told at once whether
// it counts; who, when and why are in the history.
import { condition, defineUpdate, setHandler } from '@temporalio/workflow';
import type { ApprovalRecord, Decision } from '../domain/approval.js';
import { samePerson } from '../domain/approval.js';
import type { ErrorCode } from '../domain/errors.js';
import type { ReleaseRequest } from '../domain/release.js';
import { DECIDE_UPDATE } from '../domain/temporal-names.js';
import type { Deployment } from '../plan/schema.js';
import { asWorkflowFailure } from './failures.js';
import { type ReleaseProgress, StageEnded } from './progress.js';

export const decideUpdate = defineUpdate<ApprovalRecord, [Decision]>(DECIDE_UPDATE);

export class Approvals {
  private waiting: { readonly environment: string; decided?: ApprovalRecord } | undefined;
  private separate = false;

  constructor(
    private readonly request: ReleaseRequest,
    private readonly progress: ReleaseProgress,
  ) {
    setHandler(decideUpdate, (decision) => this.decide(decision), {
      validator: (decision) => this.check(decision),
    });
  }

  /** Gives who approved. Ends the stage as REJECTED where somebody refuses, or nobody answers. */
  async of(
    { environment, approvalTimeout, escalation }: Deployment,
    separate: boolean,
  ): Promise<ApprovalRecord> {
    const deadline = Date.now() + approvalTimeout * 1000;
    const waiting: { environment: string; decided?: ApprovalRecord } = { environment };
    const until = new Date(deadline).toISOString();
    const decided = () => waiting.decided !== undefined;
    this.waiting = waiting;
    this.separate = separate;
    const since = new Date().toISOString();
    this.progress.awaits({ environment, since, until });
    try {
      if (escalation && !(await condition(decided, escalation.after * 1000))) {
        const escalated = { note: escalation.note, at: new Date().toISOString() };
        this.progress.awaits({ environment, since, until, escalated });
      }
      if (!decided()) await condition(decided, Math.max(1, deadline - Date.now()));
    } finally {
      this.waiting = undefined;
    }
    const { decided: made } = waiting;
    if (!made) throw refused('TL_APPROVAL_EXPIRED', `Nobody approved ${environment} before ${until}`);
    if (made.decision === 'refused') {
      const why = made.comment ? `: ${made.comment}` : '';
      throw refused('TL_APPROVAL_REFUSED', `${made.by} refused ${environment}${why}`);
    }
    return made;
  }

  /** Idempotent: the same decision of the same person is the one that was made. */
  private decide(decision: Decision): ApprovalRecord {
    const before = this.before(decision);
    if (before) return before;
    const { waiting } = this;
    if (!waiting || waiting.decided) throw notAwaited('The release does not wait for an approval any more');
    const { by, comment } = decision;
    waiting.decided = {
      environment: waiting.environment,
      decision: decision.decision,
      by,
      ...(comment ? { comment } : {}),
      at: new Date().toISOString(),
    };
    this.progress.approved(waiting.decided);
    return waiting.decided;
  }

  private check(decision: Decision): void {
    if (this.before(decision)) return;
    const { waiting } = this;
    if (!waiting || waiting.decided) throw notAwaited('The release does not wait for an approval');
    const { environment = waiting.environment, by } = decision;
    if (environment !== waiting.environment) {
      throw notAwaited(`The release waits for an approval of ${waiting.environment}, not of ${environment}`);
    }
    const { triggeredBy, requestedBy } = this.request;
    const same = samePerson(by, triggeredBy) || samePerson(by, requestedBy);
    if (this.separate && decision.decision === 'approved' && same) {
      throw refusal('TL_APPROVAL_SAME_PERSON', `${by} asked for this release, and may not approve it`);
    }
  }

  private before({ decision, environment, by }: Decision): ApprovalRecord | undefined {
    const made = this.progress.record().approvals ?? [];
    return made.findLast(
      (one) =>
        one.decision === decision &&
        one.by === by &&
        (environment === undefined ? !this.waiting : one.environment === environment),
    );
  }
}

const refusal = (code: ErrorCode, message: string) => asWorkflowFailure({ code, message });
const notAwaited = (message: string) => refusal('TL_APPROVAL_NOT_AWAITED', message);

function refused(code: ErrorCode, message: string): StageEnded {
  return new StageEnded({ status: 'REJECTED', problem: { code, message } });
}
