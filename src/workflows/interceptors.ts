// Trace context out of the workflow: the header that the OpenTelemetry interceptors of client and worker use, filled
// with the context of the stage that is running. The stock workflow interceptor writes the ids of spans that exist only
// in the process that made them, and are lost with it; these can be computed again by any worker at any time
// (DESIGN §5.1).
import { defaultPayloadConverter } from '@temporalio/common';
import type {
  ActivityInput,
  Next,
  WorkflowInterceptors,
  WorkflowOutboundCallsInterceptor,
} from '@temporalio/workflow';
import { currentStageContext } from './progress.js';

/** As in @temporalio/interceptors-opentelemetry-v2, `TRACE_HEADER`. */
const TRACE_HEADER = '_tracer-data';

class StageContextInterceptor implements WorkflowOutboundCallsInterceptor {
  scheduleActivity(
    input: ActivityInput,
    next: Next<WorkflowOutboundCallsInterceptor, 'scheduleActivity'>,
  ): Promise<unknown> {
    const stage = currentStageContext();
    if (!stage) return next(input);
    const { traceparent, tracestate } = stage;
    const carrier = { traceparent, ...(tracestate ? { tracestate } : {}) };
    return next({
      ...input,
      headers: { ...input.headers, [TRACE_HEADER]: defaultPayloadConverter.toPayload(carrier) },
    });
  }
}

export const interceptors = (): WorkflowInterceptors => ({ outbound: [new StageContextInterceptor()] });
