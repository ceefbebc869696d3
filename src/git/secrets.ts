// I9: what no message of git's or of a server's may carry on, should they ever repeat it.
import { redact } from '../domain/urls.js';

/** A token that a helper was given may come back in a message; those of an hour ago are still worth hiding. */
const MOST = 1000;
const kept = new Set<string>();

/** Remembers a secret that was given to git. Shorter ones would hide half of every message. */
export function keepSecret(secret: string): void {
  if (secret.length < 8) return;
  for (const form of [secret, encodeURIComponent(secret)]) {
    kept.delete(form);
    kept.add(form);
  }
  for (const oldest of kept) {
    if (kept.size <= MOST) break;
    kept.delete(oldest);
  }
}

/** Tokens by their makers' own prefixes, and headers that carry one. */
const SHAPES =
  /\b(?:gh[pousr]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|gl[a-z]{2,6}-[\w-]{16,}|ATBB[\w=-]{16,}|ATATT[\w=-]{16,})|(?<=authorization: ?(?:basic|bearer|token) )\S+/gi;

/** A text without the secrets that are known, those that look like one, and those that stand in URLs. */
export function withoutSecrets(text: string): string {
  let clean = text;
  for (const secret of kept) clean = clean.replaceAll(secret, '***');
  return redact(clean).replace(SHAPES, '***');
}
