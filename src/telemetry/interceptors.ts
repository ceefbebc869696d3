// What runs in an activity has the context of its attempt: log lines name it, and what is sent from there descends from
// it. No span is made here. A span of a process is lost with the process; the projection writes the attempt's, with this
// very id, whoever dies (DESIGN §5.2, I7). The stock interceptors of @temporalio/interceptors-opentelemetry-v2 make such
// spans, for clients and workers, and are not used; their header is.
import { context } from '@opentelemetry/api';
import { type Context as ActivityContext, activityInfo } from '@temporalio/activity';
import type {
  ActivityExecuteInput,
  ActivityInboundCallsInterceptor,
  ActivityInterceptors,
  Next,
} from '@temporalio/worker';
import type { ReleaseId } from '../domain/ids.js';
import { TRACE_HEADER } from '../domain/temporal-names.js';
import { attemptSpanId, parseTraceparent, type TraceCarrier } from '../domain/trace.js';
import { remoteSpanContext } from './context.js';

export function attemptContext(_: ActivityContext): ActivityInterceptors {
  return {
    inbound: {
      execute(input: ActivityExecuteInput, next: Next<ActivityInboundCallsInterceptor, 'execute'>) {
        const carrier = carrierIn(input.headers[TRACE_HEADER]?.data);
        if (!carrier) return next(input);
        const { workflowExecution, activityId, attempt, scheduledTimestampMs } = activityInfo();
        const release = (workflowExecution?.workflowId ?? '') as ReleaseId;
        const spanId = attemptSpanId(release, activityId, scheduledTimestampMs, attempt);
        const stage = parseTraceparent(carrier.traceparent);
        const own = remoteSpanContext({ ...stage, spanId }, carrier.tracestate);
        return context.with(own, () => next(input));
      },
    },
  };
}

function carrierIn(data: Uint8Array | null | undefined): TraceCarrier | undefined {
  if (!data) return undefined;
  try {
    const carrier = JSON.parse(Buffer.from(data).toString('utf8')) as Partial<TraceCarrier>;
    return carrier.traceparent ? (carrier as TraceCarrier) : undefined;
  } catch {
    return undefined;
  }
}
