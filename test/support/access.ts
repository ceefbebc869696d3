// Server configurations for tests, and tokens to go with them.
import { writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { newToken } from '../../src/gateway/access/tokens.js';
import type { Grant } from '../../src/policy/index.js';

export interface Holder {
  readonly name: string;
  readonly token: string;
  readonly entry: { readonly name: string; readonly sha256: string; readonly grants: readonly Grant[] };
}

export function holder(name: string, ...grants: Grant[]): Holder {
  const { token, sha256 } = newToken();
  return { name, token, entry: { name, sha256, grants } };
}

export const bearer = ({ token }: Holder) => ({ authorization: `Bearer ${token}` });

/** Writes a configuration. Gives its path. */
export function writeConfiguration(path: string, content: Record<string, unknown>): string {
  writeFileSync(
    path,
    stringify({ apiVersion: 'throughline.dev/v1alpha1', kind: 'ServerConfiguration', ...content }),
  );
  return path;
}
