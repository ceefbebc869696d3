// Makes field changes in YAML texts. The text is edited, so that every byte that need not change is kept; that it then
// means what it should, and nothing else, is checked on its values.
import { isDeepStrictEqual } from 'node:util';
import { LineCounter, parseAllDocuments } from 'yaml';
import { type Location, ThroughlineError } from '../../domain/errors.js';
import type { FieldChange } from './target.js';
import { type Path, UneditableYaml, YamlText } from './yaml-edit.js';
import { blockOf } from './yaml-layout.js';

/** The values of a file's documents. Throws TL_MANIFEST_INVALID with the place of what is no YAML. */
export function parseDocuments(text: string, file: string): unknown[] {
  const lines = new LineCounter();
  try {
    const documents = parseAllDocuments(text, {
      merge: true,
      uniqueKeys: true,
      lineCounter: lines,
      prettyErrors: false,
    });
    const list = 'empty' in documents ? [] : documents;
    for (const document of list) {
      const [error] = document.errors;
      if (error) {
        const { line, col } = lines.linePos(error.pos[0]);
        throw new ThroughlineError('TL_MANIFEST_INVALID', `${file} is not valid YAML: ${error.message}`, {
          where: { file, line, column: col },
        });
      }
    }
    return list.map((document) => document.toJS({ maxAliasCount: 100 }));
  } catch (error) {
    if (error instanceof RangeError || error instanceof ReferenceError) {
      throw new ThroughlineError(
        'TL_MANIFEST_INVALID',
        `${file} is nested too deeply, or its aliases expand to too much`,
        { where: { file } },
      );
    }
    throw error;
  }
}

/** The text with the changes made; a text that is not there yet is written. Throws TL_MANIFEST_INVALID where they cannot be. */
export function applyChanges(
  text: string | undefined,
  file: string,
  changes: readonly FieldChange[],
): string {
  if (text === undefined) return `${blockOf(written(changes), true).join('\n')}\n`;
  const yaml = new YamlText(text);
  const expected = expectedValues(parseDocuments(text, file), changes);
  try {
    for (const { document, path, after } of changes) {
      if (after === undefined) yaml.remove(document, path);
      else yaml.put(document, path, after);
    }
  } catch (error) {
    if (!(error instanceof UneditableYaml)) throw error;
    throw new ThroughlineError('TL_MANIFEST_INVALID', `${file} cannot be edited: ${error.message}`, {
      where: placeOf(yaml.text, file, error.offset),
    });
  }
  const found = readBack(yaml.text, file);
  if (!found || !isDeepStrictEqual(unfolded(found, changes), expected)) {
    throw new ThroughlineError(
      'TL_MANIFEST_INVALID',
      `${file} cannot be edited without changing what is not ours`,
      {
        expected: `${named(changes)} written out, not merged in`,
        where: { file },
        hint: 'Write these fields out in the manifest, without anchors and merge keys.',
      },
    );
  }
  return yaml.text;
}

/** The value at a path, which may lead on into a text that is YAML itself; undefined where there is none. */
export function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current === 'string') current = parsed(current);
    if (typeof current !== 'object' || current === null) return undefined;
    current = Object.hasOwn(current, step) ? (current as Record<string | number, unknown>)[step] : undefined;
  }
  return current;
}

/** The values that the edited text must have: the old ones, with only our fields changed. */
function expectedValues(values: unknown[], changes: readonly FieldChange[]): unknown[] {
  let expected = unfolded(values, changes);
  for (const { document, path, after } of changes) {
    expected = expected.length > 0 ? expected : [null];
    expected[document] =
      after === undefined ? without(expected[document], path) : withValue(expected[document], path, after);
  }
  return expected;
}

/** Values without shared references, so that changing one place changes no other; texts that changes lead into are parsed. */
function unfolded(values: unknown[], changes: readonly FieldChange[]): unknown[] {
  const plain = JSON.parse(JSON.stringify(values)) as unknown[];
  for (const { document, path } of changes) {
    for (let depth = 1; depth < path.length; depth += 1) {
      const at = path.slice(0, depth);
      const value = valueAt(plain[document], at);
      if (typeof value === 'string') plain[document] = withValue(plain[document], at, parsed(value));
    }
  }
  return plain;
}

function withValue(value: unknown, path: Path, after: unknown): unknown {
  const [step, ...rest] = path;
  if (step === undefined) return after;
  if (typeof step === 'number') {
    const items: unknown[] = Array.isArray(value) ? [...value] : [];
    items[step] = withValue(items[step], rest, after);
    return items;
  }
  const map: Record<string, unknown> = typeof value === 'object' && value !== null ? { ...value } : {};
  return { ...map, [step]: withValue(map[step], rest, after) };
}

/** Without a key, and without the maps above it that were left empty. */
function without(value: unknown, path: Path): unknown {
  const [step, ...rest] = path;
  if (step === undefined || typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((item, index) => (index === step ? without(item, rest) : item));
  const map = { ...(value as Record<string, unknown>) };
  if (rest.length > 0) map[step] = without(map[step], rest);
  const left = map[step];
  const emptied = typeof left === 'object' && left !== null && Object.keys(left).length === 0;
  if (rest.length === 0 || emptied) delete map[step];
  return map;
}

function written(changes: readonly FieldChange[]): unknown {
  return changes.reduce<unknown>((value, { path, after }) => withValue(value, path, after), {});
}

function parsed(text: string): unknown {
  try {
    return parseAllDocuments(text, { merge: true })[0]?.toJS({ maxAliasCount: 100 });
  } catch {
    return undefined;
  }
}

function readBack(text: string, file: string): unknown[] | undefined {
  try {
    return parseDocuments(text, file);
  } catch {
    return undefined; // an edit that broke the text is refused like one that changed too much
  }
}

const named = (changes: readonly FieldChange[]): string =>
  changes
    .map(({ path }) => path.join('.'))
    .slice(0, 10)
    .join(', ');

function placeOf(text: string, file: string, offset: number): Location {
  const before = text.slice(0, offset).split('\n');
  return { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
}
