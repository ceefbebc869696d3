// Requests to the Kubernetes API. Configuration, credentials and their renewal are the client library's; its typed
// calls are not used, because they turn objects into another shape than watches and custom resources come in.
import type { HttpMethod, KubeConfig, RequestContext } from '@kubernetes/client-node';
import { Agent, type Dispatcher, fetch, type Response } from 'undici';
import { messageOf, ThroughlineError } from '../domain/errors.js';

export type Query = Readonly<Record<string, string | number | boolean | undefined>>;

/** An answer of the API that is no success (API reference, `Status`). */
export class ApiError extends Error {
  constructor(
    readonly code: number,
    readonly reason: string,
    message: string,
  ) {
    super(message);
  }
}

/** The path of a resource type in a namespace: `/apis/batch/v1/namespaces/NAMESPACE/jobs`. */
export function resourcePath(apiVersion: string, namespace: string, plural: string, name?: string): string {
  const group = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const path = `${group}/namespaces/${encodeURIComponent(namespace)}/${plural}`;
  return name === undefined ? path : `${path}/${encodeURIComponent(name)}`;
}

const REQUEST_TIMEOUT_MS = 30_000;

export class KubernetesApi {
  private readonly requests: Dispatcher | undefined;
  private readonly watches: Dispatcher | undefined;

  private constructor(
    private readonly config: KubeConfig,
    tls: Record<string, unknown> | undefined,
    private readonly Request: typeof RequestContext,
  ) {
    // Few connections for many releases; further requests wait for one.
    this.requests = tls && new Agent({ connect: tls, connections: 8 });
    // All watches share one connection, as streams of HTTP/2.
    this.watches =
      tls && new Agent({ connect: tls, connections: 1, allowH2: true, pipelining: 100, bodyTimeout: 0 });
  }

  /** From KUBECONFIG, ~/.kube/config, or the service account of the pod. Throws TL_CONFIG_INVALID. */
  static async fromEnvironment(kubeconfig?: string): Promise<KubernetesApi> {
    // Not before it is needed: it takes longer to load than all the rest, and most commands never ask a cluster.
    const library = await import('@kubernetes/client-node');
    const config = new library.KubeConfig();
    try {
      if (kubeconfig) config.loadFromFile(kubeconfig);
      else config.loadFromDefault();
    } catch (cause) {
      throw new ThroughlineError('TL_CONFIG_INVALID', 'The kubeconfig cannot be read', {
        expected: 'KUBECONFIG, ~/.kube/config, or a pod with a service account',
        found: messageOf(cause),
        cause,
      });
    }
    if (!config.getCurrentCluster()) {
      throw new ThroughlineError('TL_CONFIG_INVALID', 'The kubeconfig names no current cluster', {
        expected: 'KUBECONFIG, ~/.kube/config, or a pod with a service account',
      });
    }
    return new KubernetesApi(config, await tlsOptions(config), library.RequestContext);
  }

  /** The namespace of the current context, or the pod's own. */
  get namespace(): string {
    return this.config.getContextObject(this.config.getCurrentContext())?.namespace ?? 'default';
  }

  get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
    return this.json<T>('GET', path, { query, signal });
  }

  create<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    return this.json<T>('POST', path, { body, signal });
  }

  /** A merge patch (RFC 7396). */
  merge<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
    return this.json<T>('PATCH', path, { body, signal, contentType: 'application/merge-patch+json' });
  }

  delete(path: string, body: unknown, signal?: AbortSignal): Promise<unknown> {
    return this.json('DELETE', path, { body, signal });
  }

  async text(path: string, query: Query, signal?: AbortSignal): Promise<string> {
    const response = await this.send('GET', path, { query, signal });
    return response.text();
  }

  /** An open answer, for a watch: a line of JSON an event. */
  watch(path: string, query: Query, signal: AbortSignal): Promise<Response> {
    return this.send('GET', path, { query: { ...query, watch: true }, signal, watch: true });
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.requests?.destroy(), this.watches?.destroy()]);
  }

  private async json<T>(method: string, path: string, options: SendOptions): Promise<T> {
    const response = await this.send(method, path, options);
    return (await response.json()) as T;
  }

  private async send(method: string, path: string, options: SendOptions): Promise<Response> {
    const url = new URL((this.config.getCurrentCluster()?.server ?? '') + path);
    for (const [name, value] of Object.entries(options.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, String(value));
    }
    const context = new this.Request(url.toString(), method as HttpMethod);
    await this.config.applySecurityAuthentication(context);
    const timeout = options.watch ? undefined : AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    const signals = [timeout, options.signal].filter((signal) => signal !== undefined);
    const response = await fetch(url, {
      method,
      headers: {
        ...context.getHeaders(),
        accept: 'application/json',
        ...(options.body === undefined ? {} : { 'content-type': options.contentType ?? 'application/json' }),
      },
      body: options.body === undefined ? null : JSON.stringify(options.body),
      signal: AbortSignal.any(signals),
      dispatcher: (options.watch ? this.watches : this.requests) ?? context.getDispatcher() ?? null,
    } as Parameters<typeof fetch>[1]);
    if (response.ok) return response;
    const status = (await response.json().catch(() => ({}))) as { reason?: string; message?: string };
    throw new ApiError(response.status, status.reason ?? '', status.message ?? response.statusText);
  }
}

interface SendOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal?: AbortSignal | undefined;
  readonly watch?: boolean;
}

/** Undefined where a proxy is configured: the library knows how to go through it. */
async function tlsOptions(config: KubeConfig): Promise<Record<string, unknown> | undefined> {
  const cluster = config.getCurrentCluster();
  if (!cluster || cluster.proxyUrl || !cluster.server.startsWith('https')) return undefined;
  const options: Record<string, unknown> = {};
  await config.applyToHTTPSOptions(options);
  const { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized } = options;
  const chosen = { ca, cert, key, pfx, passphrase, servername, rejectUnauthorized };
  const given = Object.entries(chosen).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(given), keepAlive: true, keepAliveInitialDelay: 30_000 };
}

/** What a failed request means for a release. Objects that are missing or there already are the caller's to handle. */
export function asProblem(error: unknown, doing: string): unknown {
  if (error instanceof ThroughlineError) return error;
  if (!(error instanceof ApiError)) {
    return new ThroughlineError('TL_KUBERNETES_UNREACHABLE', `The Kubernetes API did not answer: ${doing}`, {
      found: causeOf(error),
      cause: error,
    });
  }
  if (error.code === 401 || error.code === 403) {
    return new ThroughlineError('TL_KUBERNETES_DENIED', `The Kubernetes API does not allow this: ${doing}`, {
      found: error.message,
    });
  }
  if (error.code === 429 || error.code >= 500) {
    return new ThroughlineError(
      'TL_KUBERNETES_UNREACHABLE',
      `The Kubernetes API cannot serve this: ${doing}`,
      {
        found: `${error.code} ${error.message}`,
      },
    );
  }
  return error;
}

/** fetch says "fetch failed", and why in its cause. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause ? `${messageOf(error)}: ${messageOf(cause)}` : messageOf(error);
}
