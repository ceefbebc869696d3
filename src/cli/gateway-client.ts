// What commands ask a gateway, for people who do not reach Temporal themselves.
import { type Command, Option } from 'commander';
import { type Problem, ThroughlineError } from '../domain/errors.js';

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
export function authorization(): Record<string, string> {
  const { THROUGHLINE_TOKEN: token } = process.env;
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Asks a gateway. Throws what it answers, and TL_GATEWAY_UNREACHABLE. */
export async function requestGateway(
  { gateway = '' }: GatewayAccess,
  path: string,
  init: RequestInit = {},
): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(`${gateway.replace(/\/+$/, '')}${path}`, {
      ...init,
      headers: { ...authorization(), ...(init.headers as Record<string, string> | undefined) },
    });
  } catch (cause) {
    throw new ThroughlineError('TL_GATEWAY_UNREACHABLE', `The gateway does not answer at ${gateway}`, {
      cause,
    });
  }
  if (response.ok) return response;
  const body = (await response.json().catch(() => undefined)) as { error?: Problem } | undefined;
  if (body?.error) throw ThroughlineError.from(body.error);
  throw new ThroughlineError('TL_GATEWAY_UNREACHABLE', `${gateway} is no gateway of Throughline`, {
    found: `status ${response.status}`,
  });
}

export async function requestJson<T>(access: GatewayAccess, path: string, body?: unknown): Promise<T> {
  const response = await requestGateway(access, path, {
    signal: AbortSignal.timeout(30_000),
    ...(body === undefined
      ? {}
      : { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
  });
  return (await response.json()) as T;
}
