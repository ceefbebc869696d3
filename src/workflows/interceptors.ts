// What goes along with every activity, in its headers and so in history, without an event of its own:
//
// - the trace context of the stage that is running, where the OpenTelemetry interceptors of client and worker keep it.
//   The stock workflow interceptor writes the ids of spans that exist only in the process that made them, and are lost
//   with it; these can be computed again by any worker at any time (DESIGN §5.1);
// - how far the release has come. The projection reads it there, also of releases that never came to their end.
import { defaultPayloadConverter } from '@temporalio/common';
import type {
  ActivityInput,
  Next,
  WorkflowExecuteInput,
  WorkflowInboundCallsInterceptor,
  WorkflowInterceptors,
  WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';
import { RECORD_HEADER, TRACE_HEADER } from '../domain/temporal-names.js';
import { inRelease, outgoing } from './progress.js';

class ReleaseScope implements WorkflowInboundCallsInterceptor {
  execute(
    input: WorkflowExecuteInput,
    next: Next<WorkflowInboundCallsInterceptor, 'execute'>,
  ): Promise<unknown> {
    return inRelease(() => next(input));
  }
}

class ReleaseHeaders implements WorkflowOutboundCallsInterceptor {
  scheduleActivity(
    input: ActivityInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>,
  ): Promise<unknown> {
    const release = outgoing();
    if (!release) return next(input);
    const { traceparent, tracestate, baggage } = release.trace;
    const { request: _, ...record } = release.record; // the request is the workflow's input
    const carrier = {
      traceparent,
      ...(tracestate ? { tracestate } : {}),
      ...(baggage ? { baggage } : {}),
    };
    return next({
      ...input,
      headers: {
        ...input.headers,
        [TRACE_HEADER]: defaultPayloadConverter.toPayload(carrier),
        [RECORD_HEADER]: defaultPayloadConverter.toPayload(record),
      },
    });
  }
}

export const interceptors = (): WorkflowInterceptors => ({
  inbound: [new ReleaseScope()],
  outbound: [new ReleaseHeaders()],
});
