// Repository URLs: checked before git sees them, and never printed with a secret in them.
import { ThroughlineError } from '../domain/errors.js';
import { redact } from '../domain/urls.js';
import { HOLDS_SECRET, REPOSITORY_PATTERN } from '../plan/index.js';

/** Throws TL_REPOSITORY_INVALID where the text is no URL of a repository (or an option, or a helper such as `ext::`). */
export function checkRepositoryUrl(url: string): string {
  if (url.length > 2048 || !REPOSITORY_PATTERN.test(url)) {
    throw new ThroughlineError('TL_REPOSITORY_INVALID', 'The repository is no git URL', {
      expected: 'an https, ssh or file URL, or an absolute path',
      found: redact(url).slice(0, 200),
    });
  }
  if (HOLDS_SECRET.test(url)) {
    throw new ThroughlineError(
      'TL_REPOSITORY_INVALID',
      'The repository’s URL holds a user, a password or a query',
      {
        expected: 'a URL without them: it is kept in histories, and shown',
        hint: 'Give the worker credentials instead: `git.access` in the server’s configuration, or a helper of git’s own.',
      },
    );
  }
  return url;
}
