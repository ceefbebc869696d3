// Puts what a release attests beside its model and its image.
import { createHash } from 'node:crypto';
import type { Attestation, EvidenceStore } from '../activities/registry/evidence.js';
import type { AttestedRelease, SignedStatement } from '../domain/attested.js';
import { payloadOf, type StatementSigner, signStatement } from './signing.js';
import { type Attestable, statementsOf } from './statements.js';

export interface Attested extends SignedStatement {
  /** False where the very same statement was there already. */
  readonly added: boolean;
}

/**
 * Signs and attaches everything that a release has to say. Idempotent: a signature differs each time, a statement does
 * not, and what is there already is not signed again.
 */
export async function attestRelease(
  release: AttestedRelease,
  signer: StatementSigner,
  evidence: EvidenceStore,
  signal?: AbortSignal,
): Promise<Attested[]> {
  const places = new Map<string, Attestable[]>();
  for (const one of statementsOf(release)) places.set(one.beside, [...(places.get(one.beside) ?? []), one]);
  const attested: Attested[] = [];
  for (const [beside, all] of places) {
    const evidenced = (await evidence.of(beside, signal))?.attestations ?? [];
    const there = new Map(evidenced.map(({ bundle }) => [payloadOf(bundle), bundle]));
    const created = new Date().toISOString();
    const signed: Attestation[] = [];
    for (const { statement } of all) {
      const { predicateType } = statement;
      const payload = JSON.stringify(statement);
      const known = there.get(payload);
      const bundle = known ?? (await signStatement(statement, signer));
      if (known === undefined) signed.push({ predicateType, created, bundle });
      const id = createHash('sha256').update(payload).digest('hex');
      attested.push({ statement: id, predicateType, beside, bundle, added: known === undefined });
    }
    if (signed.length > 0) await evidence.attest(beside, signed, signal);
  }
  return attested;
}
