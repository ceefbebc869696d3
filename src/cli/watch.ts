// `throughline watch`: a release as it goes, to its end; over a gateway, or from Temporal itself.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { createParser } from 'eventsource-parser';
import { ThroughlineError } from '../domain/errors.js';
import type { ReleaseRecord } from '../domain/release.js';
import { type LiveEvent, LiveReleases } from '../gateway/live.js';
import { LAST_EVENT } from '../releases/events.js';
import { type GatewayAccess, gatewayOptions, requestGateway } from './gateway-client.js';
import { type ClientOptions, withClient, withReleases } from './options.js';
import { exitCodeOf, print } from './output.js';

/** A gateway that is away, or about to end, is asked again after this time. Milliseconds. */
const AGAIN_MS = 1_000;

export function watchCommand(program: Command): void {
  gatewayOptions(withClient(program.command('watch')))
    .description('follow a release: every stage, every wait, every decision, until its end')
    .argument('<release>', 'id of the release')
    .action(async (id: string, options: ClientOptions & GatewayAccess) => {
      const signal = new AbortController().signal;
      const show = (event: LiveEvent) => print(options.json ? JSON.stringify(event) : describeEvent(event));
      const status = options.gateway
        ? await showAll(overGateway(options, id), show)
        : await withReleases(options, (releases) =>
            showAll(new LiveReleases(releases).follow(id, { after: undefined, signal }), show),
          );
      if (status) process.exitCode = exitCodeOf(status);
    });
}

/** Shows events until the last one. Gives how the release ended. */
async function showAll(
  events: AsyncIterable<LiveEvent>,
  show: (event: LiveEvent) => void,
): Promise<ReleaseRecord['status'] | undefined> {
  for await (const event of events) {
    show(event);
    if (event.type === 'release.ended') return event.status;
  }
  return undefined;
}

/** From a gateway's stream, and from the next one's where that was cut off: ids are the same everywhere. */
async function* overGateway(access: GatewayAccess, id: string): AsyncGenerator<LiveEvent> {
  let last: string | undefined;
  while (last !== LAST_EVENT) {
    try {
      const response = await requestGateway(access, `/v1/releases/${encodeURIComponent(id)}/events`, {
        headers: { accept: 'text/event-stream', ...(last === undefined ? {} : { 'last-event-id': last }) },
      });
      if (response.status === 204 || !response.body) return;
      for await (const { event, eventId } of parsed(response.body)) {
        last = eventId ?? last;
        yield event;
      }
    } catch (error) {
      const mayPass =
        !(error instanceof ThroughlineError) ||
        ['TL_GATEWAY_UNREACHABLE', 'TL_TEMPORAL_UNAVAILABLE', 'TL_DRAINING', 'TL_RATE_LIMITED'].includes(
          error.code,
        );
      if (!mayPass || last === undefined) throw error;
    }
    await sleep(AGAIN_MS);
  }
}

async function* parsed(
  body: ReadableStream<Uint8Array>,
): AsyncGenerator<{ event: LiveEvent; eventId: string | undefined }> {
  const ready: { event: LiveEvent; eventId: string | undefined }[] = [];
  const parser = createParser({
    onEvent: ({ data, id }) => ready.push({ event: JSON.parse(data) as LiveEvent, eventId: id }),
  });
  const decoder = new TextDecoder();
  for await (const chunk of body) {
    parser.feed(decoder.decode(chunk, { stream: true }));
    yield* ready.splice(0);
  }
}

function describeEvent(event: LiveEvent): string {
  if (event.type === 'progress') return `           … ${event.text}`;
  const at = event.at.slice(11, 19);
  const problem =
    'problem' in event && event.problem ? `: ${event.problem.message} [${event.problem.code}]` : '';
  switch (event.type) {
    case 'release.started':
      return `${at}   ${event.release} began`;
    case 'stage.started':
      return `${at}   ▶ ${event.stage}`;
    case 'stage.ended':
      return `${at}   ${event.status === 'SUCCEEDED' ? '✔' : '✘'} ${event.stage}${problem}`;
    case 'approval.awaited':
      return `${at}   ? ${event.environment} waits for an approval until ${event.until}`;
    case 'approval.escalated':
      return `${at}   ! ${event.environment}: ${event.note}`;
    case 'approval.decided':
      return `${at}   = ${event.environment}: ${event.decision} by ${event.by}${event.comment ? `: ${event.comment}` : ''}`;
    case 'release.ended':
      return `${at}   ${event.status}${problem}${event.reason ? `: ${event.reason}` : ''}`;
  }
}
