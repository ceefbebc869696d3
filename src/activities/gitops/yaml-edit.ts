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
  stringify,
  visit,
  type YAMLMap,
  type YAMLSeq,
} from 'yaml';

export type Path = readonly (string | number)[];

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

/** One YAML text, several documents, edited in place. */
export class YamlText {
  constructor(public text: string) {}

  documents(): Document.Parsed[] {
    const documents = parseAllDocuments(this.text, { merge: true, uniqueKeys: true });
    return 'empty' in documents ? [] : documents;
  }

  values(): unknown[] {
    return this.documents().map((document) => document.toJS({ maxAliasCount: 100 }));
  }

  /** Sets a text below a map, making the last key, and maps above it, where they are missing. */
  set(document: number, path: Path, value: string, after?: string): void {
    for (;;) {
      const found = this.resolve(document, path);
      if (found === 'changed') continue;
      if (found.rest.length === 0) return this.replace(found.node, value);
      const [key, ...deeper] = found.rest;
      const nested = deeper.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value);
      return this.insertInto(found.node, String(key), nested, after);
    }
  }

  /** Adds an item to the end of a sequence that exists. */
  append(document: number, path: Path, item: Readonly<Record<string, string>>): void {
    for (;;) {
      const found = this.resolve(document, path);
      if (found === 'changed') continue;
      const sequence = found.node;
      if (found.rest.length > 0 || !isSeq(sequence))
        throw this.uneditable(found.node, `${path.join('.')} is no sequence`);
      const last = sequence.items.at(-1);
      if (sequence.flow || !isNode(last)) return this.insertIntoFlow(sequence, JSON.stringify(item));
      const indent = this.indentOf(rangeOf(sequence)[0]);
      const [first = '', ...others] = stringify(item, { lineWidth: 0 }).trimEnd().split('\n');
      return this.insertLine(this.endOf(last), [
        `${indent}- ${first}`,
        ...others.map((line) => `${indent}  ${line}`),
      ]);
    }
  }

  /** Sets a key to a sequence of one item, where the key is missing. */
  insert(document: number, path: Path, value: unknown, after?: string): void {
    for (;;) {
      const found = this.resolve(document, path);
      if (found === 'changed') continue;
      if (found.rest.length === 0) {
        this.splice(
          rangeOf(found.node)[0],
          rangeOf(found.node)[1],
          `${this.gapBefore(found.node)}${JSON.stringify(value)}`,
        );
        return;
      }
      return this.insertInto(found.node, String(found.rest[0]), value, after);
    }
  }

  /**
   * Walks to a path. Where something on the way is shared by an anchor, it is taken apart, and the walk begins anew
   * ("changed"). `rest` is what is missing.
   */
  private resolve(index: number, path: Path): { node: Node; rest: Path } | 'changed' {
    const document = this.documents()[index];
    let node: unknown = document?.contents;
    if (!document || !isNode(node)) throw new UneditableYaml('The document is empty', 0);
    for (let depth = 0; ; depth += 1) {
      if (!isNode(node)) throw new UneditableYaml(`Nothing at ${path.join('.')}`, 0);
      if (isAlias(node)) {
        this.materialize(document, node);
        return 'changed';
      }
      const shared = node.anchor === undefined ? undefined : aliasOf(document, node);
      if (shared) {
        this.materialize(document, shared);
        return 'changed';
      }
      const step = path[depth];
      if (step === undefined) return { node, rest: [] };
      if (isScalar(node) && node.value === null) return { node, rest: path.slice(depth) };
      if (!isCollection(node)) throw this.uneditable(node, `${path.slice(0, depth).join('.')} is no map`);
      const next: unknown = node.get(step, true);
      if (next === undefined || (isScalar(next) && next.range == null))
        return { node, rest: path.slice(depth) };
      node = next;
    }
  }

  /** Writes what an alias stands for in its place, without the anchor. */
  private materialize(document: Document.Parsed, alias: Alias): void {
    const source = alias.resolve(document);
    const [start, end] = rangeOf(alias);
    if (!source) throw this.uneditable(alias, `*${alias.source} has no anchor`);
    const value: unknown = source.toJS(document, { maxAliasCount: 100 });
    if (!isCollection(source) || source.flow || source.items.length === 0) {
      this.splice(start, end, typeof value === 'string' ? this.scalar(value, false) : JSON.stringify(value));
      return;
    }
    const eol = this.eolNear(start);
    const lines = stringify(value, { lineWidth: 0, aliasDuplicateObjects: false }).trimEnd().split('\n');
    const lineStart = this.text.lastIndexOf('\n', start - 1) + 1;
    const before = this.text.slice(lineStart, start);
    if (/[{[,]/.test(before.replace(/"[^"]*"|'[^']*'/g, ''))) {
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

  private replace(node: Node, value: string): void {
    if (!isScalar(node)) throw this.uneditable(node, 'expected a single value here');
    const [start, end] = rangeOf(node);
    const type = node.type;
    if (type === 'QUOTE_SINGLE') return this.splice(start, end, `'${value.replaceAll("'", "''")}'`);
    if (type === 'QUOTE_DOUBLE') return this.splice(start, end, JSON.stringify(value));
    const block = type === 'BLOCK_FOLDED' || type === 'BLOCK_LITERAL';
    const tail = block && this.text.slice(start, end).endsWith('\n') ? this.eolNear(start) : '';
    this.splice(start, end, `${this.gapBefore(node)}${this.scalar(value, this.isInFlow(node))}${tail}`);
  }

  private insertInto(node: Node, key: string, value: unknown, after: string | undefined): void {
    if (isScalar(node) && node.value === null) {
      // `annotations:` with nothing behind it: the map begins on a line of its own, below its key.
      const [start, end] = rangeOf(node);
      const indent = `${this.indentOf(start)}  `;
      const written = this.text.slice(start, end); // `~`, `null`, or nothing
      const eol = this.eolNear(start);
      const lines = this.block(key, value).map((line) => `${indent}${line}`);
      if (written !== '') this.splice(start, end, '');
      return this.insertLine(written === '' ? start : start - 1, lines, eol);
    }
    if (!isMap(node)) throw this.uneditable(node, 'expected a map here');
    if (node.flow || node.items.length === 0) {
      return this.insertIntoFlow(node, `${this.scalar(key, true)}: ${flow(value)}`);
    }
    const pair =
      node.items.find((item) => isScalar(item.key) && item.key.value === after) ?? node.items.at(-1);
    if (!pair) throw this.uneditable(node, 'expected a map with keys here');
    const indent = this.indentOf(this.keyStart(node.items[0]));
    this.insertLine(
      this.endOfPair(pair),
      this.block(key, value).map((line) => `${indent}${line}`),
    );
  }

  private insertIntoFlow(node: YAMLMap | YAMLSeq, item: string): void {
    const last: unknown = node.items.at(-1);
    if (last !== undefined) {
      const end = isPair(last) ? this.endOfPair(last as Pair) : rangeOf(last as Node)[1];
      return this.splice(end, end, `, ${item}`);
    }
    const [start, end] = rangeOf(node);
    const open = this.text.slice(start, start + 1);
    this.splice(start, end, open === '[' ? `[${item}]` : `{ ${item} }`);
  }

  private block(key: string, value: unknown): string[] {
    return stringify({ [key]: value }, { lineWidth: 0 })
      .trimEnd()
      .split('\n');
  }

  /** Inserts lines below the line on which `offset` lies. A comment at the end of that line stays on it. */
  private insertLine(offset: number, lines: readonly string[], eol = this.eolNear(offset)): void {
    let end = this.text.indexOf('\n', offset);
    // A block scalar ends behind its line break already.
    if (offset > 0 && this.text[offset - 1] === '\n') end = offset - 1;
    if (end < 0)
      return this.splice(this.text.length, this.text.length, lines.map((line) => `${eol}${line}`).join(''));
    this.splice(end + 1, end + 1, lines.map((line) => `${line}${eol}`).join(''));
  }

  private endOfPair(pair: Pair): number {
    if (isNode(pair.value) && pair.value.range) return this.endOf(pair.value);
    return isNode(pair.key) ? rangeOf(pair.key)[1] : 0;
  }

  /** Where the last value of a node ends, before comments and blank lines that follow it. */
  private endOf(node: Node): number {
    if (isMap(node) && !node.flow) {
      const last = node.items.at(-1);
      if (last) return this.endOfPair(last);
    }
    if (isSeq(node) && !node.flow) {
      const last = node.items.at(-1);
      if (isNode(last)) return this.endOf(last);
    }
    return rangeOf(node)[1];
  }

  private keyStart(pair: Pair | undefined): number {
    return isNode(pair?.key) ? rangeOf(pair.key)[0] : 0;
  }

  /** Spaces up to the column at which something starts, `- ` counted as two. */
  private indentOf(offset: number): string {
    const lineStart = this.text.lastIndexOf('\n', offset - 1) + 1;
    const before = this.text.slice(lineStart, offset);
    const own = /^[ -]*/.exec(before)?.[0] ?? '';
    return (before.trim() === '' || /^[\s-]*$/.test(before) ? before : own).replaceAll('-', ' ');
  }

  private gapBefore(node: Node): string {
    const before = this.text[rangeOf(node)[0] - 1];
    return before === ':' || before === '-' ? ' ' : '';
  }

  private isInFlow(scalar: Scalar): boolean {
    let inFlow = false;
    for (const document of this.documents()) {
      visit(document, {
        Collection(_, node) {
          const range = node.range;
          const own = rangeOf(scalar);
          if (node.flow && range && range[0] <= own[0] && own[1] <= range[1]) inFlow = true;
        },
      });
    }
    return inFlow;
  }

  /** A text as a plain scalar where it stays a text then, otherwise in double quotes. */
  private scalar(value: string, inFlow: boolean): string {
    const plain =
      stringify(value, { lineWidth: 0 }).trimEnd() === value && !(inFlow && /[,[\]{}]/.test(value));
    return plain ? value : JSON.stringify(value);
  }

  private eolNear(offset: number): string {
    const next = this.text.indexOf('\n', offset);
    const end = next >= 0 ? next : this.text.lastIndexOf('\n');
    return end > 0 && this.text[end - 1] === '\r' ? '\r\n' : '\n';
  }

  private splice(start: number, end: number, replacement: string): void {
    this.text = this.text.slice(0, start) + replacement + this.text.slice(end);
  }

  private uneditable(node: Node, message: string): UneditableYaml {
    return new UneditableYaml(message, node.range?.[0] ?? 0);
  }
}

function flow(value: unknown): string {
  return JSON.stringify(value);
}

function rangeOf(node: Node): readonly [number, number, number] {
  if (!node.range) throw new UneditableYaml('A part of the document has no place in the text', 0);
  return node.range;
}

/** An alias to this very node, where there is one. */
function aliasOf(document: Document.Parsed, node: Node): Alias | undefined {
  let found: Alias | undefined;
  visit(document, {
    Alias(_, alias) {
      if (!found && alias.resolve(document) === node) found = alias;
    },
  });
  return found;
}
