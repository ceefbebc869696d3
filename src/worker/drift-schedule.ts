// The schedule that looks for drift: there is one a namespace, and the newest worker says how often.
import {
  type Client,
  ScheduleAlreadyRunning,
  ScheduleNotFoundError,
  ScheduleOverlapPolicy,
} from '@temporalio/client';
import { messageOf } from '../domain/errors.js';
import { DRIFT_ID, DRIFT_WORKFLOW } from '../domain/temporal-names.js';
import type { Logger } from '../telemetry/log.js';

/** What is seen once may be somebody at work, or a roll-out. Seconds until it is looked at again. */
const SETTLE_SECONDS = 60;

/** `interval` in seconds; 0 takes the schedule away. */
export async function scheduleDrift(
  client: Client,
  log: Logger,
  { taskQueue, interval }: { readonly taskQueue: string; readonly interval: number },
): Promise<void> {
  const handle = client.schedule.getHandle(DRIFT_ID);
  const spec = { intervals: [{ every: interval * 1000 }] };
  const action = {
    type: 'startWorkflow' as const,
    workflowType: DRIFT_WORKFLOW,
    workflowId: DRIFT_ID,
    taskQueue,
    args: [{ settle: SETTLE_SECONDS }],
    staticSummary: 'compares what runs with what was released',
  };
  // A look that was missed is not made up for: the next one sees the same.
  const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1m' as const };
  try {
    if (interval === 0) await handle.delete();
    else await client.schedule.create({ scheduleId: DRIFT_ID, spec, action, policies });
  } catch (error) {
    if (error instanceof ScheduleNotFoundError) return;
    try {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      await handle.update((before) => ({ ...before, spec, action, policies }));
    } catch (trouble) {
      log.warn({ schedule: DRIFT_ID, error: messageOf(trouble) }, 'drift is not looked for');
    }
  }
}
