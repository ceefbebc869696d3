// Who asks, and what they may do. Pure.
import { ThroughlineError } from '../../domain/errors.js';
import type { ReleaseScope } from '../../domain/release.js';
import type { Grant, Role } from '../../policy/index.js';

export interface Caller {
  /** Of the credentials: what logs, histories and commits call them. */
  readonly name: string;
  readonly grants: readonly Grant[];
  /** False where the gateway asks nobody who they are. */
  readonly known: boolean;
  /** Of a signed message: its id, which no other message has. */
  readonly message?: string | undefined;
}

/** Everybody, where no authentication is configured. */
export const ANYBODY: Caller = { name: 'anonymous', grants: [{ roles: ['admin'] }], known: false };

/** What is known of a release, or of an environment, when it is decided whether somebody may have to do with it. */
export interface Concern {
  readonly model?: string | null | undefined;
  readonly environments?: readonly string[] | undefined;
}

const granted = (caller: Caller, role: Role) =>
  caller.grants.filter(({ roles }) => roles.includes(role) || roles.includes('admin'));

/** Throws TL_FORBIDDEN where the caller has no such role, for whatever model or environment. */
export function demand(caller: Caller, role: Role): void {
  if (granted(caller, role).length > 0) return;
  throw new ThroughlineError('TL_FORBIDDEN', `${caller.name} may not do that`, {
    expected: `a grant with the role ${role}`,
  });
}

/** Where the caller has a role: undefined where that is everywhere. */
export function scopesOf(caller: Caller, role: Role): readonly ReleaseScope[] | undefined {
  const scopes = granted(caller, role).map(({ models, environments }) => ({
    ...(models ? { models } : {}),
    ...(environments ? { environments } : {}),
  }));
  return scopes.some(({ models, environments }) => !models && !environments) ? undefined : scopes;
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

export function may(caller: Caller, role: Role, concern: Concern): boolean {
  return covers(scopesOf(caller, role), concern);
}
