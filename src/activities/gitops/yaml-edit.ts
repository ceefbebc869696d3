// Editing YAML as text: a value is replaced, or a line inserted, at the place that the parser names; every other byte
// stays as it was. Each edit works on freshly parsed text, so that offsets are always true. What anchors share is
// taken apart first, so that an edit reaches only what it names.
import {
  type Alias,
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  type Node,
  type Pair,
  parseAllDocuments,
  type Scalar,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';
import {
  aliasOf,
  blockOf,
  endOf,
  endOfPair,
  eolNear,
  extentOf,
  gapBefore,
  indentOf,
  indentsSequences,
  isEmpty,
  isInFlow,
  isJson,
  isUnfilled,
  nest,
  pairOf,
  quotesKeys,
  rangeOf,
  scalarOf,
  spacesBefore,
  UneditableYaml,
} from './yaml-layout.js';

export { UneditableYaml } from './yaml-layout.js';

export type Path = readonly (string | number)[];

/** Behind which key a new one is written, where that is there; at the end otherwise. */
const FOLLOWS: Readonly<Record<string, readonly string[]>> = {
  image: ['name'],
  env: ['image', 'name'],
  value: ['name'],
  newName: ['name'],
  newTag: ['newName', 'name'],
  digest: ['newTag', 'newName', 'tag', 'name'],
  tag: ['repository'],
};

type Resolved = { readonly document: Document.Parsed; readonly node: Node; readonly rest: Path };

/** One YAML text, several documents, edited in place. */
export class YamlText {
  private parsed: { readonly text: string; readonly documents: Document.Parsed[] } | undefined;

  constructor(public text: string) {}

  documents(): Document.Parsed[] {
    if (this.parsed?.text !== this.text) {
      const documents = parseAllDocuments(this.text, { merge: true, uniqueKeys: true });
      this.parsed = { text: this.text, documents: 'empty' in documents ? [] : documents };
    }
    return this.parsed.documents;
  }

  /**
   * Sets a value, making maps and sequences above it where they are missing; an index at a sequence's end adds an item. A path
   * may lead on into a literal block (`|`) that is YAML itself. What is there already may only be replaced by a text.
   */
  put(index: number, path: Path, value: unknown): void {
    const documents = this.documents();
    if (index === Math.max(documents.length - 1, 0) && isEmpty(documents[index])) {
      return this.appendToText(blockOf(nest(path, value), true));
    }
    const { document, node, rest } = this.resolve(index, path);
    const [key, ...deeper] = rest;
    if (key === undefined) return this.replace(document, node, value);
    if (isScalar(node) && node.type === 'BLOCK_LITERAL') {
      return this.within(node, (inner) => inner.put(0, rest, value));
    }
    const nested = nest(deeper, value);
    if (typeof key === 'number') return this.append(document, node, nested);
    this.insertInto(document, node, key, nested);
  }

  /** Removes a key of a map with its line, and the maps above it that this empties. Nothing happens where it is not there. */
  remove(index: number, path: Path): void {
    const above = path.slice(0, -1);
    const key = path.at(-1);
    const { node, rest } = this.resolve(index, above);
    if (isScalar(node) && node.type === 'BLOCK_LITERAL') {
      return this.within(node, (inner) => inner.remove(0, [...rest, ...path.slice(-1)]));
    }
    if (rest.length > 0 || !isMap(node)) return;
    const pair = pairOf(node, key);
    if (!pair) return;
    if (node.items.length === 1) {
      if (above.length > 0) return this.remove(index, above);
      return this.splice(rangeOf(node)[0], endOf(node), '{}');
    }
    const [start, end] = extentOf(this.text, node, pair);
    this.splice(start, end, '');
  }

  /** Walks to a path, taking apart what anchors share on the way. `rest` is what is missing. */
  private resolve(index: number, path: Path): Resolved {
    for (;;) {
      const found = this.walk(index, path);
      if (found) return found;
    }
  }

  /** Undefined where something was taken apart: the walk begins anew. */
  private walk(index: number, path: Path): Resolved | undefined {
    const document = this.documents()[index];
    let node: unknown = document?.contents;
    if (!document || !isNode(node)) throw new UneditableYaml('The document is empty', 0);
    for (let depth = 0; ; depth += 1) {
      if (!isNode(node)) throw new UneditableYaml(`Nothing at ${path.join('.')}`, 0);
      const shared = isAlias(node) ? node : node.anchor === undefined ? undefined : aliasOf(document, node);
      if (shared) {
        this.materialize(document, shared);
        return undefined;
      }
      const step = path[depth];
      if (step === undefined) return { document, node, rest: [] };
      const end = { document, node, rest: path.slice(depth) };
      if (isScalar(node) && (node.value === null || node.type === 'BLOCK_LITERAL')) return end;
      if (!isCollection(node)) throw uneditable(node, `${path.slice(0, depth).join('.')} is no map`);
      const next: unknown = node.get(step, true);
      if (next === undefined || (isScalar(next) && next.range == null)) return end;
      node = next;
    }
  }

  /** Writes what an alias stands for in its place, without the anchor. */
  private materialize(document: Document.Parsed, alias: Alias): void {
    const source = alias.resolve(document);
    const [start, end] = rangeOf(alias);
    if (!source) throw uneditable(alias, `*${alias.source} has no anchor`);
    const value: unknown = source.toJS(document, { maxAliasCount: 100 });
    if (!isCollection(source) || source.flow || source.items.length === 0) {
      this.splice(start, end, typeof value === 'string' ? scalarOf(value, false) : JSON.stringify(value));
      return;
    }
    const eol = eolNear(this.text, start);
    const lines = blockOf(value, indentsSequences(this.text));
    const lineStart = this.text.lastIndexOf('\n', start - 1) + 1;
    const before = this.text.slice(lineStart, start);
    if (isInFlow(document, alias)) {
      this.splice(start, end, JSON.stringify(value));
    } else if (/^\s*(?:- +)*- +$/.test(before)) {
      this.splice(start, end, lines.join(`${eol}${' '.repeat(before.length)}`));
    } else {
      const keyColumn = /^[\s-]*/.exec(before)?.[0].length ?? 0;
      const indent = ' '.repeat(keyColumn + 2);
      const gap = /\s*$/.exec(before)?.[0].length ?? 0;
      this.splice(start - gap, end, lines.map((line) => `${eol}${indent}${line}`).join(''));
    }
  }

  private replace(document: Document.Parsed, node: Node, value: unknown): void {
    if (!isScalar(node) || typeof value !== 'string') throw uneditable(node, 'expected a single value here');
    const [start, end] = rangeOf(node);
    const type = node.type;
    if (type === 'QUOTE_SINGLE' && !/[\0-\x1f]/.test(value))
      return this.splice(start, end, `'${value.replaceAll("'", "''")}'`);
    if (type === 'QUOTE_DOUBLE' || type === 'QUOTE_SINGLE' || isJson(this.text))
      return this.splice(start, end, JSON.stringify(value));
    const block = type === 'BLOCK_FOLDED' || type === 'BLOCK_LITERAL';
    const old = this.text.slice(start, end);
    const note = block ? (/^[^\r\n#]*?([ \t]+#[^\r\n]*)/.exec(old)?.[1] ?? '') : '';
    const tail = block && old.endsWith('\n') ? `${note}${eolNear(this.text, start)}` : note;
    const scalar = scalarOf(value, isInFlow(document, node));
    if (start === end && this.text[start] === '#') {
      // Nothing but a comment behind the key: the value goes between them.
      const gap = spacesBefore(this.text, start);
      return this.splice(start - gap, start, ` ${scalar}${' '.repeat(gap)}`);
    }
    this.splice(start, end, `${gapBefore(this.text, node)}${scalar}${tail}`);
  }

  /** Edits a literal block as the YAML that it is: an indented text is one, too, so nothing is converted. */
  private within(block: Scalar, edit: (inner: YamlText) => void): void {
    const [start, end] = rangeOf(block as Node);
    const first = this.text.indexOf('\n', start) + 1;
    const header = this.text
      .slice(start, first)
      .replace(/[ \t]*#.*/, '')
      .trim();
    if (first === 0 || first >= end || !/^\|[+-]?$/.test(header))
      throw uneditable(block as Node, 'expected a block | without an indentation of its own');
    const inner = new YamlText(this.text.slice(first, end));
    const broken = inner.documents().find(({ errors }) => errors.length > 0)?.errors[0];
    if (broken || inner.documents().length !== 1)
      throw uneditable(
        block as Node,
        `expected YAML of one document within the block: ${broken?.message ?? ''}`,
      );
    try {
      edit(inner);
    } catch (error) {
      if (!(error instanceof UneditableYaml)) throw error;
      throw new UneditableYaml(error.message, first + error.offset);
    }
    this.splice(first, end, inner.text);
  }

  private insertInto(document: Document.Parsed, node: Node, key: string, value: unknown): void {
    if (isUnfilled(this.text, document, node)) return this.fill(document, node, { [key]: value });
    if (!isMap(node)) throw uneditable(node, 'expected a map here');
    if (node.flow || node.items.length === 0) {
      const quoted = isJson(this.text) || quotesKeys(node) ? JSON.stringify(key) : scalarOf(key, true);
      return this.insertIntoFlow(node, `${quoted}: ${JSON.stringify(value)}`);
    }
    const before = (FOLLOWS[key] ?? []).map((name) => pairOf(node, name)).find((pair) => pair);
    const pair = before ?? node.items.at(-1);
    if (!pair) throw uneditable(node, 'expected a map with keys here');
    const first = node.items[0]?.key;
    const indent = indentOf(this.text, isNode(first) ? rangeOf(first)[0] : 0);
    this.insertLine(endOfPair(pair), this.indented(indent, { [key]: value }));
  }

  private append(document: Document.Parsed, node: Node, item: unknown): void {
    if (isUnfilled(this.text, document, node)) return this.fill(document, node, [item]);
    if (!isSeq(node)) throw uneditable(node, 'expected a sequence here');
    const last = node.items.at(-1);
    if (node.flow || !isNode(last)) return this.insertIntoFlow(node, JSON.stringify(item));
    const indent = indentOf(this.text, rangeOf(node)[0]);
    this.insertLine(endOf(last), this.indented(indent, [item]));
  }

  /** `annotations:` with nothing behind it: what it gets begins on a line of its own, below its key. */
  private fill(document: Document.Parsed, node: Node, value: unknown): void {
    const [start, end] = rangeOf(node);
    if (isInFlow(document, node)) {
      return this.splice(start, end, `${gapBefore(this.text, node)}${JSON.stringify(value)}`);
    }
    const unindented = Array.isArray(value) && !indentsSequences(this.text);
    const indent = `${indentOf(this.text, start)}${unindented ? '' : '  '}`;
    const eol = eolNear(this.text, start);
    // `~`, `null` and `{}` go, with the space before them.
    const gap = start === end ? 0 : spacesBefore(this.text, start);
    const lines = this.indented(indent, value);
    this.splice(start - gap, end, '');
    this.insertLine(start - gap, lines, eol);
  }

  private insertIntoFlow(node: YAMLMap | YAMLSeq, item: string): void {
    const last: unknown = node.items.at(-1);
    if (last !== undefined) {
      const end = isPair(last) ? endOfPair(last as Pair) : rangeOf(last as Node)[1];
      return this.splice(end, end, `, ${item}`);
    }
    const [start, end] = rangeOf(node);
    const open = this.text.slice(start, start + 1);
    this.splice(start, end, open === '[' ? `[${item}]` : `{ ${item} }`);
  }

  private indented(indent: string, value: unknown): string[] {
    return blockOf(value, indentsSequences(this.text)).map((line) => `${indent}${line}`);
  }

  /** Inserts lines below the line on which `offset` lies. A comment at the end of that line stays on it. */
  private insertLine(offset: number, lines: readonly string[], eol = eolNear(this.text, offset)): void {
    let end = this.text.indexOf('\n', offset);
    // A block scalar ends behind its line break already.
    if (offset > 0 && this.text[offset - 1] === '\n') end = offset - 1;
    if (end < 0)
      return this.splice(this.text.length, this.text.length, lines.map((line) => `${eol}${line}`).join(''));
    this.splice(end + 1, end + 1, lines.map((line) => `${line}${eol}`).join(''));
  }

  /** Below whatever comments a text without a value has. */
  private appendToText(lines: readonly string[]): void {
    const eol = eolNear(this.text, 0);
    const ends = this.text === '' || /[\n\uFEFF]$/.test(this.text);
    this.text += ends ? `${lines.join(eol)}${eol}` : `${eol}${lines.join(eol)}`;
  }

  private splice(start: number, end: number, replacement: string): void {
    this.text = this.text.slice(0, start) + replacement + this.text.slice(end);
  }
}

function uneditable(node: Node, message: string): UneditableYaml {
  return new UneditableYaml(message, node.range?.[0] ?? 0);
}
