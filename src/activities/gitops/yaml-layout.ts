// How a YAML text is laid out, and how to write more of it in the same way: indentation, line endings, quotes. Offsets are
// those of the text that the nodes were parsed from.
import {
  type Alias,
  Document,
  isMap,
  isNode,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  stringify,
  visit,
  type YAMLMap,
} from 'yaml';

/** A place that cannot be edited, for a reason that a person has to mend. */
export class UneditableYaml extends Error {
  override readonly name = 'UneditableYaml';
  constructor(
    message: string,
    readonly offset: number,
  ) {
    super(message);
  }
}

export function rangeOf(node: Node): readonly [number, number, number] {
  if (!node.range) throw new UneditableYaml('A part of the document has no place in the text', 0);
  return node.range;
}

/** Where the last value of a node ends, before comments and blank lines that follow it. */
export function endOf(node: Node): number {
  if (isMap(node) && !node.flow) {
    const last = node.items.at(-1);
    if (last) return endOfPair(last);
  }
  if (isSeq(node) && !node.flow) {
    const last = node.items.at(-1);
    if (isNode(last)) return endOf(last);
  }
  return rangeOf(node)[1];
}

export function endOfPair(pair: Pair): number {
  if (isNode(pair.value) && pair.value.range) return endOf(pair.value);
  return isNode(pair.key) ? rangeOf(pair.key)[1] : 0;
}

export function pairOf(map: YAMLMap, key: unknown): Pair | undefined {
  return map.items.find(
    (item) => (isNode(item.key) && 'value' in item.key ? item.key.value : item.key) === key,
  );
}

/** Spaces up to the column at which something starts, `- ` counted as two. */
export function indentOf(text: string, offset: number): string {
  const lineStart = text.lastIndexOf('\n', offset - 1) + 1;
  const before = text.slice(lineStart, offset).replace(/^\uFEFF/, '');
  const own = /^[ -]*/.exec(before)?.[0] ?? '';
  return (/^[\s-]*$/.test(before) ? before : own).replaceAll('-', ' ');
}

export function eolNear(text: string, offset: number): string {
  const next = text.indexOf('\n', offset);
  const end = next >= 0 ? next : text.lastIndexOf('\n');
  return end > 0 && text[end - 1] === '\r' ? '\r\n' : '\n';
}

/** A value that begins right behind `key:` or `-` needs a space before it. */
export function gapBefore(text: string, node: Node): string {
  const before = text[rangeOf(node)[0] - 1];
  return before === ':' || before === '-' ? ' ' : '';
}

export function spacesBefore(text: string, offset: number): number {
  return /[ \t]*$/.exec(text.slice(text.lastIndexOf('\n', offset - 1) + 1, offset))?.[0].length ?? 0;
}

/** Whether a map is written as JSON has it. */
export function quotesKeys(map: YAMLMap): boolean {
  return map.items.length > 0 && map.items.every(({ key }) => isScalar(key) && key.type === 'QUOTE_DOUBLE');
}

/** Whether a node lies within `{…}` or `[…]`. */
export function isInFlow(document: Document.Parsed, node: Node): boolean {
  const [start, end] = rangeOf(node);
  let inFlow = false;
  visit(document, {
    Collection(_, around) {
      if (around === node || !around.flow || !around.range) return;
      if (around.range[0] <= start && end <= around.range[1]) inFlow = true;
    },
  });
  return inFlow;
}

/** An alias to this very node, where there is one. */
export function aliasOf(document: Document.Parsed, node: Node): Alias | undefined {
  let found: Alias | undefined;
  visit(document, {
    Alias(_, alias) {
      if (!found && alias.resolve(document) === node) found = alias;
    },
  });
  return found;
}

/** What goes with a pair of a map: its lines, or in `{…}` the comma that parts it from its neighbour. */
export function extentOf(text: string, map: YAMLMap, pair: Pair): readonly [number, number] {
  if (!isNode(pair.key)) throw new UneditableYaml('A key has no place in the text', 0);
  const [key] = rangeOf(pair.key);
  if (map.flow) {
    const position = map.items.indexOf(pair as (typeof map.items)[number]);
    const [before, after] = [map.items[position - 1], map.items[position + 1]];
    if (before) return [endOfPair(before), endOfPair(pair)];
    if (after && isNode(after.key)) return [key, rangeOf(after.key)[0]];
    return [rangeOf(map)[0] + 1, rangeOf(map)[1] - 1];
  }
  const start = text.lastIndexOf('\n', key - 1) + 1;
  if (text.slice(start, key).trim() !== '') throw new UneditableYaml('expected a line of its own here', key);
  const value = endOfPair(pair);
  const end = text[value - 1] === '\n' ? value - 1 : text.indexOf('\n', value);
  return end < 0 ? [Math.max(start - eolNear(text, key).length, 0), text.length] : [start, end + 1];
}

/**
 * A text as a plain scalar where every reader takes it for a text then, otherwise in double quotes. Kubernetes' own reader
 * knows YAML 1.1, whose `2024-01-01`, `yes` and `1_000` are no texts.
 */
export function scalarOf(value: string, inFlow: boolean): string {
  return isPlain(value) && !(inFlow && /[,[\]{}]/.test(value)) ? value : JSON.stringify(value);
}

function isPlain(value: string): boolean {
  return (['1.1', '1.2'] as const).every(
    (version) => stringify(value, { version, lineWidth: 0 }).trimEnd() === value,
  );
}

/** Lines of a value in block style. */
export function blockOf(value: unknown, indentSequences: boolean): string[] {
  const document = new Document(value, { aliasDuplicateObjects: false });
  visit(document, {
    Scalar(_, node) {
      if (typeof node.value === 'string' && !isPlain(node.value)) node.type = 'QUOTE_DOUBLE';
    },
  });
  return document.toString({ lineWidth: 0, indentSeq: indentSequences }).trimEnd().split('\n');
}

/** Whether `- ` stands deeper than the key above it; where the text does not say, it does. */
export function indentsSequences(text: string): boolean {
  const sequence =
    /^( *(?:- )?)[^\s#-][^\r\n]*:[ \t]*(?:#[^\r\n]*)?\r?\n(?:[ \t]*(?:#[^\r\n]*)?\r?\n)*( *)- /m.exec(text);
  return !sequence || (sequence[2] ?? '').length > (sequence[1] ?? '').length;
}

/** A key without a value, or with an empty one that stands outside of `{…}` and may as well be written in lines. */
export function isUnfilled(text: string, document: Document.Parsed, node: Node): boolean {
  if (isScalar(node)) return node.value === null;
  const [start, end] = rangeOf(node);
  const isEmptyCollection = /^(?:\{[ \t]*\}|\[[ \t]*\])$/.test(text.slice(start, end));
  return isEmptyCollection && /:[ \t]*$/.test(text.slice(0, start).slice(-80)) && !isInFlow(document, node);
}

export function isJson(text: string): boolean {
  if (!/^[\s\uFEFF]*[{[]/.test(text)) return false;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

export function isEmpty(document: Document.Parsed | undefined): boolean {
  return (
    !document ||
    document.contents === null ||
    (isScalar(document.contents) && document.contents.value === null)
  );
}

/** A value within the maps and sequences of a path. */
export function nest(path: readonly (string | number)[], value: unknown): unknown {
  return path.reduceRight<unknown>(
    (inner, step) => (typeof step === 'number' ? [inner] : { [step]: inner }),
    value,
  );
}
