import { createServer } from 'node:net';

/** A port of the loopback address that is free now. 0 asks for any; a wanted one that is taken gives any. */
export async function freePort(wanted: number): Promise<number> {
  const found = await tryPort(wanted);
  return found ?? (await tryPort(0)) ?? wanted;
}

function tryPort(port: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(undefined));
    server.listen(port, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address ? address.port : undefined));
    });
  });
}
