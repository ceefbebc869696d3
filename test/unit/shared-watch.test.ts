// One list-and-watch for many: what it hears, and what it does when it is cut off.
import type { Response } from 'undici';
import { afterEach, describe, expect, it } from 'vitest';
import { ApiError, type Query } from '../../src/kubernetes/api.js';
import type { KubernetesObject } from '../../src/kubernetes/objects.js';
import { SharedWatch } from '../../src/kubernetes/shared-watch.js';
import { createLogger } from '../../src/telemetry/log.js';

/** An API server of one collection, whose connections the test holds. */
class Server {
  readonly lists: Query[] = [];
  readonly watches: Query[] = [];
  items: KubernetesObject[] = [];
  version = '1';
  refuse: ApiError | undefined;
  private connection: ReadableStreamDefaultController<Uint8Array> | undefined;

  async get<T>(_path: string, query: Query = {}): Promise<T> {
    this.lists.push(query);
    if (this.refuse) throw this.refuse;
    return { metadata: { resourceVersion: this.version }, items: this.items } as T;
  }

  async watch(_path: string, query: Query, signal: AbortSignal): Promise<Response> {
    this.watches.push(query);
    if (this.refuse) throw this.refuse;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.connection = controller;
        signal.addEventListener('abort', () => controller.error(signal.reason), { once: true });
      },
    });
    return { body } as unknown as Response;
  }

  send(type: string, object: object): void {
    this.connection?.enqueue(new TextEncoder().encode(`${JSON.stringify({ type, object })}\n`));
  }
  sendRaw(text: string): void {
    this.connection?.enqueue(new TextEncoder().encode(text));
  }
  close(): void {
    this.connection?.close();
  }
  break(): void {
    this.connection?.error(new Error('connection reset'));
  }
}

const object = (name: string, version: string): KubernetesObject => ({
  metadata: { name, resourceVersion: version },
});
const signal = new AbortController().signal;
const watches: SharedWatch<KubernetesObject>[] = [];
afterEach(() => {
  for (const watch of watches.splice(0)) watch.stop();
});

function watchOf(server: Server): SharedWatch<KubernetesObject> {
  const watch = new SharedWatch<KubernetesObject>(
    server as unknown as ConstructorParameters<typeof SharedWatch>[0],
    { path: '/things', labelSelector: 'a=b', keyOf: ({ metadata }) => metadata.name },
    createLogger('test', 'silent'),
  );
  watches.push(watch);
  return watch;
}

async function until(holds: () => boolean): Promise<void> {
  for (let waited = 0; waited < 5_000; waited += 5) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error('not within 5 s');
}

describe('a shared watch', () => {
  it('lists once and watches once, however many wait', async () => {
    const server = new Server();
    server.items = [object('a', '1')];
    const watch = watchOf(server);
    await Promise.all(Array.from({ length: 300 }, () => watch.synced(signal)));
    await until(() => server.watches.length === 1);
    expect(server.lists).toEqual([{ labelSelector: 'a=b' }]);
    expect(server.watches[0]).toMatchObject({ resourceVersion: '1', allowWatchBookmarks: true });
    expect(watch.of('a')).toHaveLength(1);
  });

  it('tells those whom a change concerns, and nobody else', async () => {
    const server = new Server();
    const watch = watchOf(server);
    await watch.synced(signal);
    await until(() => server.watches.length === 1);
    const heard: string[] = [];
    const unsubscribe = watch.subscribe('a', () => heard.push('a'));
    watch.subscribe('b', () => heard.push('b'));
    server.send('ADDED', object('a', '2'));
    await until(() => heard.length === 1);
    unsubscribe();
    server.send('DELETED', object('a', '3'));
    server.send('ADDED', object('b', '4'));
    await until(() => heard.length === 2);
    expect(heard).toEqual(['a', 'b']);
    expect(watch.of('a')).toEqual([]);
  });

  it('takes lines that come in pieces', async () => {
    const server = new Server();
    const watch = watchOf(server);
    await watch.synced(signal);
    await until(() => server.watches.length === 1);
    const line = `${JSON.stringify({ type: 'ADDED', object: object('a', '2') })}\n`;
    server.sendRaw(line.slice(0, 10));
    server.sendRaw(line.slice(10) + line.slice(0, 5));
    await until(() => watch.of('a').length === 1);
  });

  it('goes on from the last bookmark when the connection ends or breaks', async () => {
    const server = new Server();
    const watch = watchOf(server);
    await watch.synced(signal);
    await until(() => server.watches.length === 1);
    server.send('BOOKMARK', object('', '7'));
    server.close();
    await until(() => server.watches.length === 2);
    expect(server.watches[1]).toMatchObject({ resourceVersion: '7' });
    server.break();
    await until(() => server.watches.length === 3);
    expect(server.watches[2]).toMatchObject({ resourceVersion: '7' });
    expect(server.lists).toHaveLength(1);
  });

  it('lists again when its version is forgotten, and tells what is gone', async () => {
    const server = new Server();
    server.items = [object('a', '1')];
    const watch = watchOf(server);
    await watch.synced(signal);
    await until(() => server.watches.length === 1);
    let told = 0;
    watch.subscribe('a', () => {
      told += 1;
    });
    server.items = [];
    server.send('ERROR', { code: 410, reason: 'Expired', message: 'too old resource version' });
    await until(() => server.lists.length === 2);
    expect(watch.of('a')).toEqual([]);
    expect(told).toBe(1);
  });

  it('says that the API is away, and that it is back', async () => {
    const server = new Server();
    const watch = watchOf(server);
    await watch.synced(signal);
    await until(() => server.watches.length === 1);
    let told = 0;
    watch.subscribe('a', () => {
      told += 1;
    });
    server.refuse = new ApiError(503, 'ServiceUnavailable', 'starting up');
    server.break();
    await until(() => watch.away !== undefined);
    server.refuse = undefined;
    await until(() => watch.away === undefined);
    expect(told).toBeGreaterThanOrEqual(2);
  });

  it('is refused to whoever may not list, and tries again for the next', async () => {
    const server = new Server();
    server.refuse = new ApiError(403, 'Forbidden', 'jobs is forbidden');
    const watch = watchOf(server);
    await expect(watch.synced(signal)).rejects.toMatchObject({ code: 403 });
    server.refuse = undefined;
    await watch.synced(signal);
  });

  it('lets a waiter go alone', async () => {
    const server = new Server();
    server.refuse = new ApiError(503, 'ServiceUnavailable', 'not yet');
    const watch = watchOf(server);
    const leaving = new AbortController();
    const waited = watch.synced(leaving.signal);
    leaving.abort(new Error('enough'));
    await expect(waited).rejects.toThrow('enough');
    server.refuse = undefined;
    await watch.synced(signal);
  });
});
