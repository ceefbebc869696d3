// What a pull request says, whatever the names, metrics and comments in it try.
import fc from 'fast-check';
import { micromark } from 'micromark';
import { gfm, gfmHtml } from 'micromark-extension-gfm';
import { describe, expect, it } from 'vitest';
import { markOf, pullRequestText } from '../../../src/activities/forge/body.js';
import { cell, code, inert, link } from '../../../src/activities/forge/markdown.js';
import { DIGEST, evidence, HOSTILE, RELEASE, REQUESTED_AT, ROWS } from '../../support/evidence.js';

/** As forges render it, before they clean it: nothing that was taken for HTML is hidden from the test. */
const render = (markdown: string) =>
  micromark(markdown, {
    extensions: [gfm()],
    htmlExtensions: [gfmHtml()],
    allowDangerousHtml: true,
    allowDangerousProtocol: true,
  });

const elements = (html: string) => [...html.matchAll(/<([a-z0-9]+)/gi)].map(([, name]) => name);

const rows = (html: string) =>
  [...html.matchAll(/<tr>(.*?)<\/tr>/gs)].map(
    ([, row = '']) => elements(row).filter((name) => name === 'td' || name === 'th').length,
  );

const ALLOWED = new Set(['p', 'a', 'code', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'h3']);

function judge(hostile: string): void {
  const { title, body } = pullRequestText(evidence(hostile));
  const html = render(body);
  expect(elements(html.replace(/<!--.*?-->/gs, '')).filter((name) => !ALLOWED.has(name ?? ''))).toEqual([]);
  expect(elements(html).filter((name) => name === 'a')).toHaveLength(1);
  expect(rows(html)).toEqual(ROWS);
  const outside = html
    .replace(/<code>.*?<\/code>/gs, '')
    .replace(/<!--.*?-->/gs, '')
    .replace(/<a .*?<\/a>/gs, '');
  expect(outside).not.toMatch(/evil|@\w|#\d/);
  expect(title).not.toMatch(/:\/\/|www\./i);
  for (const text of [title, body.replace(/<!--.*?-->/g, '')]) {
    expect(text).not.toMatch(/@\w|#\w|\[skip|closes +https?:\/\/|gh-\d/i);
  }
  expect(title).not.toMatch(/[\r\n]/);
  expect(title.length).toBeLessThan(255);
  expect(body.length).toBeLessThan(65_536);
  expect(markOf(body)).toEqual({ release: RELEASE, environment: hostile, requestedAt: REQUESTED_AT });
}

describe('the text of a pull request', () => {
  for (const hostile of HOSTILE) {
    it(`shows and does not do: ${JSON.stringify(hostile).slice(0, 60)}`, () => judge(hostile));
  }

  it('shows and does not do whatever is made of such pieces', () => {
    const pieces = fc.constantFrom(
      ...HOSTILE,
      '\\',
      '|',
      '`',
      '\n',
      '[',
      ']',
      '(',
      ')',
      '<',
      '>',
      '*',
      '_',
      ' ',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 8 }), (parts) => judge(parts.join(''))),
      { numRuns: 300 },
    );
  });

  it('has the chain of evidence, in tables', () => {
    const { title, body } = pullRequestText({
      ...evidence('x'),
      model: 'digits',
      modelId: 'digits-7',
      environment: 'production',
      metrics: [{ name: 'accuracy', value: 0.97, gate: 'at least 0.95' }],
      changes: [
        { file: 'k8s/deployment.yaml', field: 'containers[inference].image', from: 'a:1', to: 'a:2' },
      ],
    });
    expect(title).toBe('Deploy digits digits-7 to production');
    expect(body).toContain(`[${RELEASE}](https://gateway.example/releases/${RELEASE})`);
    expect(body).toContain('| `accuracy` | `0.97` | `at least 0.95` |');
    expect(body).toContain('| `k8s/deployment.yaml` | `containers[inference].image` | `a:1` | `a:2` |');
    expect(body).toContain(`| Trace | \`${'c'.repeat(32)}\` | \`00-`);
    expect(body).toContain(`\`${DIGEST}\``);
  });

  it('says how many rows are left out', () => {
    const changes = Array.from({ length: 100 }, (_, row) => ({
      file: 'a',
      field: `f${row}`,
      to: 'x'.repeat(500),
    }));
    const { body } = pullRequestText({ ...evidence('x'), changes });
    expect(body).toContain('And 40 more.');
    expect(body.length).toBeLessThan(65_536);
  });
});

describe('a mark', () => {
  it('is not taken from anything but a release', () => {
    expect(markOf('')).toBeUndefined();
    const said = (release: string, environment: string, at: string) =>
      markOf(`<!-- throughline Release-Id=${release} Environment=${environment} Requested-At=${at} -->`);
    expect(said(RELEASE, 'production', '2026%2D01%2D01')).toBeDefined();
    expect(said('evil', 'x', '2026')).toBeUndefined();
    expect(said(RELEASE, '%zz', '2026')).toBeUndefined();
    expect(said(RELEASE, 'x', 'never')).toBeUndefined();
  });

  it('is still read where a forge has changed the ends of lines', () => {
    const { body } = pullRequestText(evidence('production'));
    expect(markOf(body.replaceAll('\n', '\r\n'))).toMatchObject({
      release: RELEASE,
      environment: 'production',
    });
  });
});

describe('escaping', () => {
  it('leaves what is harmless as it is', () => {
    for (const text of ['digits', 'registry.example/ml/digits:v1', DIGEST, 'a_b*c', '0.95', 'größer als']) {
      expect(inert(text)).toBe(text);
      expect(code(text)).toBe(`\`${text}\``);
    }
    expect(cell('a|b')).toBe('`a\\|b`');
  });

  it('links to the web alone', () => {
    expect(link('x', 'javascript:evil()')).toBeUndefined();
    expect(link('x', 'https://user:secret@host.example/')).toBeUndefined();
    expect(link('x', 'nothing')).toBeUndefined();
    expect(link('x', 'https://host.example/a)b](c|d')).toBe('[x](https://host.example/a%29b%5D%28c%7Cd)');
  });
});
