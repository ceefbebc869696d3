// What a verifier demands beyond an unbroken chain: a file of the one who runs what others have built.
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { messageOf, ThroughlineError } from '../domain/errors.js';

const policySchema = z.strictObject({
  /** Files with public keys, relative to the policy; any of them may have signed. */
  signers: z.array(z.string().min(1)).default([]),
  /** Whom a Fulcio may have vouched for, by the certificates and logs of its trusted root. */
  identities: z.array(z.strictObject({ issuer: z.string().min(1), subject: z.string().min(1) })).default([]),
  trustedRoot: z.string().min(1).optional(),
  /** Source repositories; `*` stands for anything but a slash, `**` for anything. */
  repositories: z.array(z.string().min(1)).optional(),
  /** Least values of metrics. */
  metrics: z.record(z.string(), z.strictObject({ atLeast: z.number() })).default({}),
  /** Whether training must have said what it read. */
  datasetDigest: z.enum(['required', 'optional']).default('optional'),
});

export type Policy = z.output<typeof policySchema>;

export const NO_POLICY: Policy = policySchema.parse({});

/** Throws TL_CONFIG_INVALID. */
export async function readPolicy(file: string): Promise<Policy> {
  const invalid = (found: string) =>
    new ThroughlineError('TL_CONFIG_INVALID', `The policy ${file} cannot be used`, {
      expected:
        'YAML with signers, identities, trustedRoot, repositories, metrics, datasetDigest (docs/provenance.md)',
      found,
    });
  let value: unknown;
  try {
    value = parse(await readFile(file, 'utf8'));
  } catch (error) {
    throw invalid(messageOf(error));
  }
  const parsed = policySchema.safeParse(value);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    throw invalid(`${issue?.path.join('.') || 'the policy'}: ${issue?.message}`);
  }
  const { signers, trustedRoot, ...policy } = parsed.data;
  const beside = (name: string) => resolve(dirname(file), name);
  return {
    ...policy,
    signers: signers.map(beside),
    ...(trustedRoot === undefined ? {} : { trustedRoot: beside(trustedRoot) }),
  };
}
