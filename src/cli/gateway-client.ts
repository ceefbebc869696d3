// What commands ask a gateway, for people who do not reach Temporal themselves.
import { type Command, Option } from 'commander';
import { type ErrorCode, type Problem, ThroughlineError } from '../domain/errors.js';

export interface GatewayAccess {
  readonly gateway?: string;
}

export function gatewayOptions(command: Command): Command {
  return command.addOption(
    new Option('--gateway <url>', 'a gateway, instead of Temporal; with the token in THROUGHLINE_TOKEN').env(
      'THROUGHLINE_GATEWAY_URL',
    ),
  );
}

/** What says who is asking: never an option, which others on the machine could read (I9). */
function authorization(): Record<string, string> {
  const { THROUGHLINE_TOKEN: token } = process.env;
  return token ? { authorization: `Bearer ${token}` } : {};
}

interface Asked extends GatewayAccess {
  /** What it is called that no gateway answers. */
  readonly unreachable?: ErrorCode;
}

/** Asks a gateway. Throws what it answers, and TL_GATEWAY_UNREACHABLE. */
export async function requestGateway(asked: Asked, path: string, init: RequestInit = {}): Promise<Response> {
  const { gateway = '', unreachable = 'TL_GATEWAY_UNREACHABLE' } = asked;
  let response: Response;
  try {
    response = await fetch(`${gateway.replace(/\/+$/, '')}${path}`, {
      ...init,
      headers: { ...authorization(), ...(init.headers as Record<string, string> | undefined) },
    });
  } catch (cause) {
    throw new ThroughlineError(unreachable, `The gateway does not answer at ${gateway}`, { cause });
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) as { error?: Problem } | undefined;
  throw body?.error ? ThroughlineError.from(body.error) : noGateway(asked, response);
}

export async function requestJson<T>(asked: Asked, path: string, body?: unknown): Promise<T> {
  const response = await requestGateway(asked, path, {
    signal: AbortSignal.timeout(30_000),
    ...(body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return response.json().catch(() => {
    throw noGateway(asked, response);
  }) as Promise<T>;
}

function noGateway(
  { gateway = '', unreachable = 'TL_GATEWAY_UNREACHABLE' }: Asked,
  { status }: Response,
): ThroughlineError {
  return new ThroughlineError(unreachable, `${gateway} is no gateway of Throughline`, {
    found: `status ${status}`,
  });
}
