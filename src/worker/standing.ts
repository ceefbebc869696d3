// Workflows of which there is one for all releases, and which never end.
import { type Client, WorkflowIdConflictPolicy } from '@temporalio/client';
import { messageOf } from '../domain/errors.js';
import type { Logger } from '../telemetry/log.js';

export interface StandingWorkflow {
  readonly id: string;
  readonly type: string;
  readonly taskQueue: string;
  readonly summary: string;
  readonly args?: readonly unknown[];
}

/** Starts it, or finds it started: it goes on where the last worker left it. */
export async function startStanding(
  client: Client,
  log: Logger,
  { id, type, taskQueue, summary, args = [] }: StandingWorkflow,
): Promise<void> {
  try {
    await client.workflow.start(type, {
      workflowId: id,
      taskQueue,
      args: [...args],
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
      staticSummary: summary,
    });
  } catch (error) {
    // Releases go on without it; the next worker that starts begins with what was left.
    log.warn({ workflow: id, error: messageOf(error) }, 'a standing workflow was not started');
  }
}
