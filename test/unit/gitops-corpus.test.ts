// What a release changes in files of a GitOps repository, and that nothing else changes, over a corpus of such files.
import { describe, expect, it } from 'vitest';
import { editHold, holdOf } from '../../src/activities/gitops/edit.js';
import { type CorpusCase, generatedCases, savedOtherwise, writtenCases } from '../support/gitops-corpus.js';
import { expectOnlyOurs, FIRST, type Files, LEADS, reader, release, texts } from '../support/gitops-judge.js';

const written = writtenCases();
const corpus: readonly CorpusCase[] = [...written, ...savedOtherwise(written), ...generatedCases(300)];

describe('a release into a file of the corpus', () => {
  it('has enough of them, each another', () => {
    const distinct = new Set(corpus.map(({ files }) => JSON.stringify(texts(files))));
    expect(new Set(written.map(({ files }) => JSON.stringify(texts(files)))).size).toBeGreaterThanOrEqual(60);
    expect(distinct.size).toBeGreaterThanOrEqual(200);
    expect(corpus.length - distinct.size).toBeLessThan(5);
  });

  it.each(corpus.map((one) => [one.name, one] as const))(
    'changes only what it must: %s',
    async (_, { target, files }) => {
      await expectOnlyOurs(target, files);
    },
  );

  it.each(corpus.map((one) => [one.name, one] as const))(
    'keeps what others change: %s',
    async (_, { target, files }) => {
      const changed = (text: string) =>
        text
          .replace(/replicas: \d/, 'replicas: 7')
          .replace(/envoyproxy\/envoy:v1\.31|proxy:[12]\b/, 'registry.example/other:9')
          .replace(
            /^(\uFEFF?)(?!%)/,
            (start) => `${start}# somebody was here${/\r\n/.test(text) ? '\r\n' : '\n'}`,
          )
          .replace(/prometheus\.io\/port: (['"])8080/, 'prometheus.io/port: $19090');
      const mapped = (all: Files) =>
        Object.fromEntries(
          Object.entries(all).map(([path, text]) => [path, path in files ? changed(text) : text]),
        );
      expect(await release(target, mapped(files), FIRST)).toEqual(
        mapped(await release(target, files, FIRST)),
      );
    },
  );

  it.each(corpus.map((one) => [one.name, one] as const))(
    'takes a hold, and lets it go: %s',
    async (_, { target, files }) => {
      const released = await release(target, files, FIRST);
      const held = Object.fromEntries(
        (await editHold(target, 'off: #1, "why"', reader(released))).map(({ path, text }) => [path, text]),
      );
      const all = { ...released, ...held };
      expect(await holdOf(target, reader(all))).toBe('off: #1, "why"');
      for (const [path, text] of Object.entries(held)) {
        const others = (all = '') =>
          all.split(/\r?\n/).filter((line) => !/throughline/.test(line) && !LEADS.test(line));
        // In `{…}` it shares its line with others.
        const shared = text.split('\n').length === (released[path] ?? '').split('\n').length;
        if (!shared) expect(others(text)).toEqual(others(released[path]));
      }
      const again = Object.fromEntries(
        (await editHold(target, 'because', reader(all))).map(({ path, text }) => [path, text]),
      );
      expect(Object.keys(again)).toHaveLength(1);
      const free = { ...all, ...again };
      const freed = Object.fromEntries(
        (await editHold(target, undefined, reader(free))).map(({ path, text }) => [path, text]),
      );
      expect({ ...free, ...freed }).toEqual(released);
    },
  );
});
