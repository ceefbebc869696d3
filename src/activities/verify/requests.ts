// Requests of checks. A plan's author says where they go, and the worker is who sends them: so they follow no redirect, read
// no more than is needed, and reach no instance's metadata (SSRF; OWASP, "Server-Side Request Forgery Prevention").
import { type LookupAddress, type LookupOptions, lookup } from 'node:dns';
import { BlockList, isIP } from 'node:net';
import { Agent, request } from 'undici';
import { messageOf } from '../../domain/errors.js';
import { VERSION } from '../../version.js';

/** More than this of an answer is not read. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

export interface Question {
  readonly url: string;
  /** What the operator's list is asked for, where that is not the URL itself. */
  readonly place?: string | undefined;
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** Seconds. */
  readonly timeout: number;
}

export interface Answer {
  readonly status: number;
  readonly body: string;
  /** There was more than is read. */
  readonly cut: boolean;
  /** From the request to the last byte. */
  readonly seconds: number;
  readonly location?: string | undefined;
}

/** Why there is no answer: `final` where there will be none. */
export interface Silence {
  readonly why: string;
  readonly final: boolean;
}

/** Link-local addresses: there clouds answer with an instance's credentials. */
const METADATA = new BlockList();
METADATA.addSubnet('169.254.0.0', 16, 'ipv4');
METADATA.addSubnet('fe80::', 10, 'ipv6');
METADATA.addAddress('fd00:ec2::254', 'ipv6');

class NotAllowed extends Error {}

export class Requests {
  private readonly agent: Agent;

  constructor(private readonly allows: { url: (url: string) => boolean; everything: boolean }) {
    // A connection for each request: one that is kept would go on to ask a pod that is replaced.
    this.agent = new Agent({
      pipelining: 0,
      connect: allows.everything ? { lookup: guardedLookup } : {},
    });
  }

  /** Asks once. Throws the signal's reason where that is aborted; whatever else goes wrong is said. */
  async ask(question: Question, signal: AbortSignal): Promise<Answer | Silence> {
    const { url, place = url, method, headers, body, timeout } = question;
    const { hostname } = new URL(url);
    const address = hostname.replace(/^\[(.*)\]$/, '$1');
    if (!this.allows.url(place))
      return { why: `${hostname} may not be asked (allow.verifyUrls)`, final: true };
    if (this.allows.everything && isIP(address) && isMetadata(address)) return refused(address);
    const late = AbortSignal.timeout(Math.max(1, timeout * 1000));
    const begun = performance.now();
    try {
      const response = await request(url, {
        method,
        headers: { 'user-agent': `throughline/${VERSION}`, accept: '*/*', ...headers },
        body: body ?? null,
        dispatcher: this.agent,
        signal: AbortSignal.any([signal, late]),
      });
      const read = await readBounded(response.body);
      const { location } = response.headers;
      return {
        status: response.statusCode,
        ...read,
        seconds: (performance.now() - begun) / 1000,
        location: typeof location === 'string' ? location : undefined,
      };
    } catch (error) {
      signal.throwIfAborted();
      if (late.aborted) return { why: `no answer within ${timeout} s`, final: false };
      if (error instanceof NotAllowed) return refused(error.message);
      return { why: wordsOf(error), final: false };
    }
  }
}

const refused = (address: string): Silence => ({
  why: `${address} is link-local, where instances’ credentials are: only allow.verifyUrls lets a check ask there`,
  final: true,
});

async function readBounded(
  body: AsyncIterable<Buffer> & { destroy(): unknown },
): Promise<{ body: string; cut: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > MAX_ANSWER_BYTES) break; // ends the connection
  }
  const whole = Buffer.concat(chunks);
  return { body: whole.subarray(0, MAX_ANSWER_BYTES).toString('utf8'), cut: size > MAX_ANSWER_BYTES };
}

const isMetadata = (address: string) => METADATA.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** Judges what a name leads to at the moment of the connection, so that no second answer of the DNS gets around it. */
function guardedLookup(
  hostname: string,
  options: LookupOptions,
  callback: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
): void {
  lookup(hostname, { ...options, all: true }, (error, addresses) => {
    if (error) return callback(error, []);
    const bad = addresses.find(({ address }) => isMetadata(address));
    if (bad) return callback(new NotAllowed(`${hostname} (${bad.address})`), []);
    const [first] = addresses;
    if (options.all || !first) return callback(null, addresses);
    callback(null, first.address, first.family);
  });
}

/** A connection that fails to several addresses has only a code. */
function wordsOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  const message = messageOf(error);
  return typeof code === 'string' && !message.includes(code)
    ? [code, message].filter(Boolean).join(': ')
    : message;
}

export const isSilence = (answer: Answer | Silence): answer is Silence => 'why' in answer;
