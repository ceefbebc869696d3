/** A URL without whoever it is for: it may carry a token (I9). */
export function withoutUser(url: string): string {
  return url.replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@]*@/i, '$1');
}

/** I9: replaces user information, and what a query may carry, in every URL of a text. */
export function redact(text: string): string {
  return text
    .replace(/(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, '$1***@')
    .replace(/(?<![a-z0-9+.-])([a-z][a-z0-9+.-]*:\/\/[^\s?"']*)\?[^\s"'\\]*/gi, '$1?***');
}
