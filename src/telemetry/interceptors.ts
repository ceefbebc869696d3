// The OpenTelemetry interceptors of @temporalio/interceptors-opentelemetry-v2, as far as a release uses them: a span for
// what changes something (start, cancel). Status polls stay silent: a monitor asks every few seconds.
import type { WorkflowClientInterceptor } from '@temporalio/client';
import { OpenTelemetryWorkflowClientInterceptor } from '@temporalio/interceptors-opentelemetry-v2';

export function clientInterceptor(): WorkflowClientInterceptor {
  const stock = new OpenTelemetryWorkflowClientInterceptor();
  return {
    start: (input, next) => stock.start(input, next),
    startWithDetails: (input, next) => stock.startWithDetails(input, next),
    signal: (input, next) => stock.signal(input, next),
    cancel: (input, next) => stock.cancel(input, next),
  };
}
