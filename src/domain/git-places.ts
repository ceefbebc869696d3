// Which repositories credentials are for. A prefix ends at a slash and a host is compared whole, so that credentials of
// `https://git.example/ml` reach neither `…/ml-others` nor `git.example.org`. Pure.

export const MATCH_FORM =
  'a host (git.example, git.example:2222), or https://HOST/PATH or ssh://USER@HOST/PATH without a password';

/** What a URL leads to. */
export interface Place {
  readonly protocol: string;
  readonly user: string | undefined;
  /** With the port, where it is not the protocol's own. */
  readonly host: string;
  /** Begins with a slash, and ends without one and without `.git`, which servers add as they like; or is empty. */
  readonly path: string;
}

const PORT: Readonly<Record<string, string>> = { 'https:': '443', 'http:': '80', 'ssh:': '22' };

/** Undefined where it is no URL of a server, or one that two programs could read differently. */
export function placeOf(repository: string): Place | undefined {
  if (/[\\\s]/.test(repository)) return undefined;
  // gitrepository-layout's scp-like form: user@host:path stands for ssh://user@host/path.
  const scp = /^(?:([^/:@]+)@)?([^/:@]+):(?!\/\/)(.*)$/.exec(repository);
  const text = scp
    ? `ssh://${scp[1] ? `${scp[1]}@` : ''}${scp[2]}/${(scp[3] ?? '').replace(/^\/+/, '')}`
    : repository;
  try {
    const url = new URL(text);
    const port = PORT[url.protocol];
    if (port === undefined || url.password || url.search || url.hash) return undefined;
    const path = decodeURIComponent(url.pathname).replace(/(?:\.git)?\/*$/, '');
    if (/%(?:2f|5c|00)/i.test(url.pathname) || /(?:^|\/)\.\.?(?:\/|$)|\/\/|%/.test(path)) return undefined;
    const host = url.hostname.toLowerCase() + (url.port === '' || url.port === port ? '' : `:${url.port}`);
    const user = url.username === '' ? undefined : decodeURIComponent(url.username);
    return { protocol: url.protocol, user, host, path };
  } catch {
    return undefined;
  }
}

const HOST = /^(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:]+\])(?::\d{1,5})?$/i;

export function isMatch(match: string): boolean {
  if (HOST.test(match)) return true;
  const place = /^(?:https?|ssh):\/\//.test(match) ? placeOf(match) : undefined;
  return place !== undefined && (place.protocol === 'ssh:' || place.user === undefined);
}

/** The places that credentials are for. A host alone says no protocol: tokens go to it by TLS only. */
export function matchOf(match: string, kind: 'ssh' | 'https'): Place {
  const place = placeOf(HOST.test(match) ? `${kind}://${match}` : match);
  if (!place) throw new RangeError(`${match} is not ${MATCH_FORM}`);
  return place;
}

export function matchesPlace(match: Place, place: Place): boolean {
  return (
    match.protocol === place.protocol &&
    match.host === place.host &&
    (match.user === undefined || match.user === place.user) &&
    (place.path === match.path || place.path.startsWith(`${match.path}/`))
  );
}
