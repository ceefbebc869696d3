// Reaching Temporal, by its own standard configuration: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY,
// TEMPORAL_TLS_*, profiles in temporal.toml (@temporalio/envconfig).
import { Client, Connection, isGrpcServiceError } from '@temporalio/client';
import { loadClientConnectConfig } from '@temporalio/envconfig';
import { NativeConnection } from '@temporalio/worker';
import { messageOf, ThroughlineError } from '../domain/errors.js';

/** gRPC status codes (grpc/status): what says that Temporal is away rather than that the request is wrong. */
const UNAVAILABLE_CODES = new Set([1, 4, 8, 14]);
/** A caller is told within this time that Temporal is away; the client itself would go on trying. Milliseconds. */
const CALL_TIMEOUT_MS = 5_000;

export interface TemporalTarget {
  readonly address?: string | undefined;
  readonly namespace?: string | undefined;
  readonly profile?: string | undefined;
}

function configuration(target: TemporalTarget) {
  try {
    const loaded = loadClientConnectConfig(target.profile === undefined ? {} : { profile: target.profile });
    const address = target.address ?? loaded.connectionOptions.address ?? 'localhost:7233';
    return {
      options: { ...loaded.connectionOptions, address },
      address,
      namespace: target.namespace ?? loaded.namespace ?? 'default',
    };
  } catch (cause) {
    throw new ThroughlineError(
      'TL_CONFIG_INVALID',
      `Temporal's configuration is not usable: ${messageOf(cause)}`,
      { cause },
    );
  }
}

export interface TemporalClient {
  readonly client: Client;
  readonly connection: Connection;
  readonly address: string;
  readonly namespace: string;
}

/** A client that connects when it is first used, so that a gateway can start before Temporal does. */
export function temporalClient(target: TemporalTarget): TemporalClient {
  const { options, address, namespace } = configuration(target);
  const connection = Connection.lazy({ ...options, connectTimeout: '2s' } as Parameters<
    typeof Connection.lazy
  >[0]);
  const client = new Client({ connection, namespace });
  return { client, connection, address, namespace };
}

/** The worker's connection. Throws TL_TEMPORAL_UNAVAILABLE. */
export async function workerConnection(target: TemporalTarget): Promise<NativeConnection> {
  const { options, address } = configuration(target);
  try {
    return await NativeConnection.connect(options);
  } catch (cause) {
    throw unavailable(address, cause);
  }
}

export function unavailable(address: string, cause: unknown): ThroughlineError {
  return new ThroughlineError('TL_TEMPORAL_UNAVAILABLE', `Temporal does not answer at ${address}`, {
    found: messageOf(cause).split('\n', 1)[0],
    cause,
  });
}

/** Runs a call to Temporal; tells "away" from "wrong". Throws TL_TEMPORAL_UNAVAILABLE. */
export async function reachTemporal<T>(
  { connection, address }: Pick<TemporalClient, 'connection' | 'address'>,
  call: () => Promise<T>,
  timeoutMs = CALL_TIMEOUT_MS,
): Promise<T> {
  try {
    return await connection.withDeadline(Date.now() + timeoutMs, call);
  } catch (error) {
    const cause = (error as { cause?: unknown }).cause ?? error;
    if (isGrpcServiceError(cause) && UNAVAILABLE_CODES.has(cause.code)) throw unavailable(address, cause);
    if (
      /failed to connect|connection (?:dropped|refused)|deadline/i.test(messageOf(error)) &&
      !(error instanceof ThroughlineError)
    ) {
      throw unavailable(address, error);
    }
    throw error;
  }
}
