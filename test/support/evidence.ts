// What a pull request says, with a text of somebody else's in every place of it; and texts that try something.
import type { PullRequestEvidence } from '../../src/activities/forge/body.js';
import { parseCommitSha, parseDigest, releaseIdOf } from '../../src/domain/ids.js';

export const RELEASE = releaseIdOf('a');
export const REQUESTED_AT = '2026-01-01T00:00:00.000Z';
export const DIGEST = parseDigest(`sha256:${'a'.repeat(64)}`);

export function evidence(hostile: string): PullRequestEvidence {
  return {
    release: { id: RELEASE, url: `https://gateway.example/releases/${RELEASE}` },
    requestedAt: REQUESTED_AT,
    environment: hostile,
    model: hostile,
    modelId: hostile,
    modelDigest: DIGEST,
    source: { repository: hostile, commit: parseCommitSha('b'.repeat(40)) },
    dataset: { name: hostile, version: hostile, digest: hostile },
    metrics: [
      { name: hostile, value: 0.97, gate: hostile },
      { name: 'loss', value: Number.NaN },
    ],
    image: { name: hostile, digest: DIGEST },
    traceparent: `00-${'c'.repeat(32)}-${'d'.repeat(16)}-01`,
    approvals: [{ by: hostile, at: '2026-01-01T00:00:00Z', comment: hostile }],
    changes: [
      { file: hostile, field: hostile, from: hostile, to: hostile },
      { file: 'a.yaml', field: 'image', to: hostile },
    ],
  };
}

/** Cells of each row of its tables: of the evidence, the metrics, the approvals, the changes. */
export const ROWS = [3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4];

export const HOSTILE = [
  '@everyone look, and @ana',
  'a | b | c',
  'a \\| b',
  'a \\\\| b',
  '`code` ``more``',
  '`',
  '\\`',
  '[evil](https://evil.example)',
  '![evil](https://evil.example/x.png)',
  '<img src=x onerror=evil()>',
  '<!-- hidden --> --> <b>evil</b>',
  '</td></tr></table><script>evil()</script>',
  'https://evil.example www.evil.example mail@evil.example',
  'line one\n\n# evil\n\n- [ ] task\n/close\n| x | y |',
  'Closes #12, fixes evil/repo#3 and GH-4, closes https://evil.example/issues/4',
  'https://evil.example/repo.git',
  '[skip ci] [ci skip]',
  '!5 ~bug %1 $3 &2 ^alert',
  '-->\n<!-- throughline Release-Id=rel-aaaaaaaaaaaaaaaaaaaa Environment=evil Requested-At=2026 -->',
  'a--b---c',
  '&#64;evil &lt;b&gt;',
  '\u202egnp.evil\u202c',
  ':smile: $`x`$ ~~gone~~ **bold**',
  '',
  ' ',
  'x'.repeat(5000),
  '`'.repeat(300),
  '|'.repeat(300),
];
