// One list-and-watch for any number of waiters (Kubernetes documentation, "Efficient detection of changes"): the list
// gives a version, the watch goes on from there; bookmarks keep the version fresh, so that a broken connection costs
// nothing but the changes since; 410 Gone means that they are forgotten, and the list is read again.
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../domain/errors.js';
import type { Logger } from '../telemetry/log.js';
import { ApiError, type KubernetesApi } from './api.js';
import type { KubernetesObject } from './objects.js';

/** The server ends a watch after this long; we go on where it ended. Seconds. */
const WATCH_SECONDS = 290;
/** Bookmarks come about once a minute: so long a silence is a dead connection. Milliseconds. */
const SILENCE_MS = 150_000;
const BACKOFF_MS = { first: 200, most: 5_000 } as const;

export interface SharedWatchOptions {
  /** Of the collection: see resourcePath. */
  readonly path: string;
  readonly labelSelector?: string;
  /** What its waiters wait for; several objects may have the same key. */
  readonly keyOf: (object: KubernetesObject) => string | undefined;
}

interface WatchEvent<T> {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'ERROR';
  readonly object: T;
}

export class SharedWatch<T extends KubernetesObject> {
  /** By key, then by name. */
  private objects = new Map<string, Map<string, T>>();
  private readonly listeners = new Map<string, Set<() => void>>();
  private readonly stopped = new AbortController();
  /** Settled when the first list is read, or refused; undefined while nobody has asked. */
  private firstList: Promise<void> | undefined;
  private trouble: string | undefined;

  constructor(
    private readonly api: Pick<KubernetesApi, 'get' | 'watch'>,
    private readonly options: SharedWatchOptions,
    private readonly log: Logger,
  ) {}

  /** Why nothing is heard at the moment; undefined while the watch stands. */
  get away(): string | undefined {
    return this.trouble;
  }

  /** Resolves when the first list is read; begins it where nobody has. Rejects where the API refuses it. */
  async synced(signal: AbortSignal): Promise<void> {
    this.firstList ??= new Promise((listed, refused) => {
      this.run(listed).catch((error: unknown) => {
        this.firstList = undefined; // whoever asks next tries again
        refused(error);
      });
    });
    await abortable(this.firstList, signal);
  }

  /** The objects of a key, as of the last that was heard. */
  of(key: string): readonly T[] {
    return [...(this.objects.get(key)?.values() ?? [])];
  }

  /** Calls back after each change of the key's objects, and when the connection is lost or found again. */
  subscribe(key: string, changed: () => void): () => void {
    const listeners = this.listeners.get(key) ?? new Set();
    this.listeners.set(key, listeners.add(changed));
    return () => {
      listeners.delete(changed);
      if (listeners.size === 0 && this.listeners.get(key) === listeners) this.listeners.delete(key);
    };
  }

  /** Until the key's object is another one than was looked at, or a while has passed. Milliseconds. */
  async changed(
    key: string,
    version: string | undefined,
    atMost: number,
    signal: AbortSignal,
  ): Promise<void> {
    const stopped = new AbortController();
    const heard = new Promise<void>((resolve) => {
      const unsubscribe = this.subscribe(key, resolve);
      stopped.signal.addEventListener('abort', unsubscribe, { once: true });
      if (this.of(key)[0]?.metadata.resourceVersion !== version) resolve();
    });
    try {
      await Promise.race([
        heard,
        sleep(atMost, undefined, { signal: AbortSignal.any([signal, stopped.signal]) }),
      ]);
      signal.throwIfAborted();
    } finally {
      stopped.abort();
    }
  }

  /** How many keys are waited for. */
  get waiting(): number {
    return this.listeners.size;
  }

  stop(): void {
    this.stopped.abort();
  }

  /** Rejects where the API refuses it: nothing that waiting would cure. */
  private async run(listed: () => void): Promise<void> {
    let version: string | undefined;
    let pause = 0;
    while (!this.stopped.signal.aborted) {
      try {
        version ??= await this.list();
        listed();
        this.setTrouble(undefined);
        await this.follow(version, (next) => {
          version = next;
          pause = 0;
        });
      } catch (error) {
        if (this.stopped.signal.aborted) return;
        if (error instanceof ApiError && error.code === 410) {
          version = undefined; // the changes since are forgotten
          continue;
        }
        if (error instanceof ApiError && [401, 403].includes(error.code)) throw error;
        this.setTrouble(causeOf(error));
        pause = Math.min(Math.max(pause * 2, BACKOFF_MS.first), BACKOFF_MS.most);
        this.log.warn({ path: this.options.path, error: causeOf(error), pause }, 'the watch broke');
        await sleep(pause * (0.75 + Math.random() / 2), undefined, { signal: this.stopped.signal }).catch(
          () => undefined,
        );
      }
    }
  }

  private async list(): Promise<string> {
    const { path, labelSelector } = this.options;
    const list = await this.api.get<{ metadata: { resourceVersion: string }; items: T[] }>(
      path,
      { labelSelector },
      this.stopped.signal,
    );
    const before = this.objects;
    this.objects = new Map();
    for (const object of list.items) this.keep(object);
    for (const key of new Set([...before.keys(), ...this.objects.keys()])) this.notify(key);
    return list.metadata.resourceVersion;
  }

  private async follow(version: string, at: (version: string) => void): Promise<void> {
    const { path, labelSelector } = this.options;
    const connection = new AbortController();
    const signal = AbortSignal.any([connection.signal, this.stopped.signal]);
    const silence = setTimeout(() => connection.abort(new Error('the connection went silent')), SILENCE_MS);
    try {
      const response = await this.api.watch(
        path,
        { labelSelector, resourceVersion: version, allowWatchBookmarks: true, timeoutSeconds: WATCH_SECONDS },
        signal,
      );
      if (!response.body) return;
      for await (const line of linesOf(response.body)) {
        silence.refresh();
        at(this.take(JSON.parse(line) as WatchEvent<T>));
      }
    } finally {
      clearTimeout(silence);
      connection.abort();
    }
  }

  /** Gives the version that the event brings. */
  private take({ type, object }: WatchEvent<T>): string {
    if (type === 'ERROR') {
      const status = object as unknown as { code?: number; reason?: string; message?: string };
      throw new ApiError(
        status.code ?? 500,
        status.reason ?? '',
        status.message ?? 'the watch ended with an error',
      );
    }
    if (type === 'DELETED') this.forget(object);
    else if (type !== 'BOOKMARK') this.keep(object);
    const key = type === 'BOOKMARK' ? undefined : this.options.keyOf(object);
    if (key !== undefined) this.notify(key);
    return object.metadata.resourceVersion ?? '';
  }

  private keep(object: T): void {
    const key = this.options.keyOf(object);
    if (key === undefined) return;
    const group = this.objects.get(key) ?? new Map<string, T>();
    this.objects.set(key, group.set(object.metadata.name, object));
  }

  private forget(object: T): void {
    const key = this.options.keyOf(object);
    const group = key === undefined ? undefined : this.objects.get(key);
    group?.delete(object.metadata.name);
    if (key !== undefined && group?.size === 0) this.objects.delete(key);
  }

  private setTrouble(trouble: string | undefined): void {
    if (this.trouble === trouble) return;
    this.trouble = trouble;
    for (const key of this.listeners.keys()) this.notify(key);
  }

  private notify(key: string): void {
    for (const listener of [...(this.listeners.get(key) ?? [])]) listener();
  }
}

/** The lines of a body, as they come. (node:readline throws where nobody can catch it when its input is aborted.) */
async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    for (const line of lines) if (line !== '') yield line;
  }
}

function causeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause ? messageOf(cause) : messageOf(error);
}

/** Waits for a promise that others wait for too; a signal ends this waiting alone. */
async function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  let stopWaiting = () => {};
  const aborted = new Promise<never>((_resolve, reject) => {
    stopWaiting = () => reject(signal.reason);
  });
  signal.addEventListener('abort', stopWaiting, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stopWaiting);
  }
}
