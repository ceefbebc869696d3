// Where a `throughline dev` is found by the other commands.
import { join } from 'node:path';
import { isAlive, type ProcessIdentity, readJson } from '../processes/index.js';

/** Where a running `throughline dev` is reached; kept in the data directory for the other commands. */
export interface DevEndpoints {
  readonly gateway: string;
  readonly temporal: string;
  readonly ui: string;
  /** Where programs send what OpenTelemetry has them send. */
  readonly otlp?: { readonly http: string; readonly grpc: string } | undefined;
  /** Where what they sent is asked for. */
  readonly spans?: string | undefined;
  readonly process: ProcessIdentity;
}

/** Where the `throughline dev` of a data directory is reached; undefined where none runs. */
export async function devEndpoints(data: string): Promise<DevEndpoints | undefined> {
  const endpoints = await readJson<DevEndpoints>(endpointsFile(data)).catch(() => undefined);
  return endpoints && (await isAlive(endpoints.process)) ? endpoints : undefined;
}

export function endpointsFile(data: string): string {
  return join(data, 'dev', 'endpoints.json');
}
