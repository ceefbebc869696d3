// Which models and environments somebody may have to do with. Pure.
import type { ReleaseScope } from '../domain/release.js';

/** What is known of a release, or of an environment, when it is decided whether somebody may have to do with it. */
export interface Concern {
  readonly model?: string | null | undefined;
  readonly environments?: readonly string[] | undefined;
}

/** Whether something lies within scopes. What is not known of it lies in none that says something of it. */
export function covers(
  scopes: readonly ReleaseScope[] | undefined,
  { model, environments = [] }: Concern,
): boolean {
  if (scopes === undefined) return true;
  return scopes.some(
    (scope) =>
      (scope.models === undefined || (model != null && scope.models.includes(model))) &&
      (scope.environments === undefined || environments.some((one) => scope.environments?.includes(one))),
  );
}
