// Who asks, and what they may do. Pure.
import { ThroughlineError } from '../../domain/errors.js';
import type { ReleaseScope } from '../../domain/release.js';
import { type Concern, covers, type Grant, type Role } from '../../policy/index.js';

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

export function may(caller: Caller, role: Role, concern: Concern): boolean {
  return covers(scopesOf(caller, role), concern);
}
