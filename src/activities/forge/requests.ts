// Requests to a forge: a time limit, and an answer that is no success as an error that says what it was.
import { ForgeAnswer } from './failures.js';

const TIMEOUT_MS = 30_000;
/** More than any answer that is read here. */
const MOST_BYTES = 16 << 20;

/**
 * fetch, with a time limit, that ends with the activity. Throws ForgeAnswer for whatever is no success, and goes nowhere
 * else: a token is for the address that an operator gave (I9), and a POST would arrive there as a GET.
 */
export async function ask(
  url: string | URL,
  init: RequestInit,
  signal: AbortSignal,
  timeout = TIMEOUT_MS,
): Promise<Response> {
  const response = await fetch(url, {
    ...init,
    redirect: 'manual',
    signal: AbortSignal.any([signal, AbortSignal.timeout(timeout)]),
  });
  if (response.ok) return response;
  throw new ForgeAnswer(response.status, saidIn(await response.text().catch(() => '')), response.headers);
}

/** The JSON of an answer; undefined where there is none. */
export async function jsonOf(response: Response): Promise<unknown> {
  const text = await response.text();
  if (text.length > MOST_BYTES) throw new Error(`an answer of ${text.length} characters`);
  return text.trim() === '' ? undefined : JSON.parse(text);
}

/** What a forge says is wrong: GitHub and Gitea call it `message`, GitLab `message` or `error`, with details at times. */
export function saidIn(body: string): string {
  let json: unknown;
  try {
    json = JSON.parse(body);
  } catch {
    return body
      .replace(/<[^>]*>/g, ' ')
      .replace(/\s+/g, ' ')
      .trim(); // a proxy's page
  }
  return sayings(json).join('; ');
}

function sayings(json: unknown): string[] {
  if (typeof json === 'string') return [json];
  if (Array.isArray(json)) return json.flatMap(sayings);
  if (typeof json !== 'object' || json === null) return [];
  const { message, error, errors, ...rest } = json as Record<string, unknown>;
  const own = [message, error, errors].flatMap(sayings);
  // GitLab: {"message": {"source_branch": ["…"]}}
  return own.length > 0
    ? own
    : Object.values(rest)
        .filter((value) => typeof value !== 'string' || !/^https?:/.test(value))
        .flatMap(sayings);
}
