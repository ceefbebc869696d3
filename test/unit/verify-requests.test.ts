// What a name leads to is judged when it is connected to: the DNS is asked by tests here.
import type { LookupOptions } from 'node:dns';
import { createServer } from 'node:http';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { Requests } from '../../src/activities/verify/requests.js';

type Callback = (error: Error | null, addresses: { address: string; family: number }[]) => void;

const NAMES: Readonly<Record<string, readonly string[]>> = {
  'metadata.example': ['169.254.169.254'],
  'also.example': ['127.0.0.1', '::ffff:169.254.169.254'],
  'served.example': ['127.0.0.1'],
};

vi.mock('node:dns', async (original) => ({
  ...(await original<typeof import('node:dns')>()),
  lookup: (name: string, _: LookupOptions, callback: Callback) => {
    const addresses = NAMES[name];
    if (!addresses)
      return callback(Object.assign(new Error(`getaddrinfo ENOTFOUND ${name}`), { code: 'ENOTFOUND' }), []);
    callback(
      null,
      addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })),
    );
  },
}));

const ask = (url: string) =>
  new Requests({ url: () => true, everything: true }).ask(
    { url, method: 'GET', headers: {}, timeout: 2 },
    new AbortController().signal,
  );

describe('a name', () => {
  it.each(['http://metadata.example/latest', 'http://also.example/latest'])(
    '%s that leads to a cloud’s metadata is not asked',
    async (url) => {
      expect(await ask(url)).toMatchObject({ final: true, why: expect.stringMatching(/link-local/) });
    },
  );

  it('that leads elsewhere is asked, and one that leads nowhere is waited for', async () => {
    const server = createServer((_, response) => response.end('hello'));
    onTestFinished(() => void server.close());
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    expect(await ask(`http://served.example:${port}/`)).toMatchObject({ status: 200, body: 'hello' });
    expect(await ask('http://nowhere.example/')).toMatchObject({
      final: false,
      why: expect.stringMatching(/ENOTFOUND/),
    });
  });
});
