// Puts what a release attests beside its model and its image.
import type { Attestation, EvidenceStore } from '../activities/registry/evidence.js';
import type { AttestedRelease } from '../domain/attested.js';
import { payloadOf, type StatementSigner, signStatement } from './signing.js';
import { type Attestable, statementsOf } from './statements.js';

export interface Attested {
  readonly predicateType: string;
  readonly beside: string;
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
    const there = new Set(
      (await evidence.of(beside, signal))?.attestations.map(({ bundle }) => payloadOf(bundle)),
    );
    const missing = all.filter(({ statement }) => !there.has(JSON.stringify(statement)));
    const created = new Date().toISOString();
    const signed: Attestation[] = [];
    for (const { statement } of missing) {
      signed.push({
        predicateType: statement.predicateType,
        created,
        bundle: await signStatement(statement, signer),
      });
    }
    if (signed.length > 0) await evidence.attest(beside, signed, signal);
    for (const { statement } of all)
      attested.push({
        predicateType: statement.predicateType,
        beside,
        added: missing.some((one) => one.statement === statement),
      });
  }
  return attested;
}
