// The audit log over HTTP, for administrators.
import type { FastifyInstance } from 'fastify';
import { ThroughlineError } from '../domain/errors.js';
import { scopesOf } from './access/caller.js';
import { callerOf } from './access/hooks.js';
import type { AuditTrail } from './audit.js';
import { auditQuerySchema, parseQuery } from './queries.js';

export function auditRoute(app: FastifyInstance, audit: AuditTrail): void {
  app.get('/v1/audit', { config: { role: 'admin' } }, async (request) => {
    // It tells of every model: whoever may see some of them alone may not see it.
    if (scopesOf(callerOf(request), 'admin') !== undefined)
      throw new ThroughlineError('TL_FORBIDDEN', 'The audit log is for administrators of everything', {
        expected: 'a grant with the role admin, without models and environments',
      });
    const { actor, release, outcome, limit, cursor } = parseQuery(auditQuerySchema, request.query);
    const entries = await audit.read({
      actor,
      target: release,
      outcome,
      limit,
      before: cursor === undefined ? undefined : parseCursor(cursor),
    });
    const last = entries.length === limit ? entries.at(-1) : undefined;
    return {
      entries: entries.map(({ at, target, ...entry }) => ({
        ...entry,
        at: at.toISOString(),
        release: target,
      })),
      ...(last ? { cursor: `${last.at.getTime()}.${last.id}` } : {}),
    };
  });
}

function parseCursor(cursor: string): { at: Date; id: string } {
  const [, at = '', id = ''] = /^(\d{1,15})\.([0-9a-f-]{36})$/.exec(cursor) ?? [];
  if (!id) {
    throw new ThroughlineError('TL_REQUEST_INVALID', 'The cursor is not valid', {
      expected: 'the cursor of an earlier page',
    });
  }
  return { at: new Date(Number(at)), id };
}
