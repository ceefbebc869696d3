// Reading YAML that a stranger wrote: bounded in size, in aliases and in depth, with the place of everything in it.
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  LineCounter,
  parseAllDocuments,
} from 'yaml';
import { type ErrorCode, type Location, ThroughlineError } from '../domain/errors.js';

/** Largest plan. One is a few dozen lines; this leaves room for comments. */
export const MAX_PLAN_BYTES = 256 * 1024;
/** Largest Job manifest: it is kept in the workflow's history. */
export const MAX_JOB_BYTES = 256 * 1024;
/** Largest GitOps manifest, which may hold many documents, as Kubernetes itself would refuse much more than 1.5 MiB in etcd. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
/** How often aliases may be expanded before a document counts as a bomb ("billion laughs"). */
const MAX_ALIASES = 100;

export interface YamlSource {
  readonly documents: readonly YamlDocument[];
}

export interface YamlDocument {
  readonly value: unknown;
  /** Where the value at a path is; of a missing one, where the nearest parent is. */
  locate(path: readonly PropertyKey[]): Location;
  /** Where a key of the map at a path is. */
  locateKey(path: readonly PropertyKey[], key: string): Location;
}

/** Parses all documents of a file. Throws `code` with the place of the first syntax error. */
export function readYaml(text: string, file: string, code: ErrorCode): YamlSource {
  const lines = new LineCounter();
  const documents = guardDepth(file, code, () =>
    parseAllDocuments(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true }),
  );
  const list = 'empty' in documents ? [] : documents;
  return {
    documents: list.map((document) => {
      const broken = document.errors[0] ?? document.warnings[0];
      if (broken) {
        const { line, col } = lines.linePos(broken.pos[0]);
        throw new ThroughlineError(code, `Not valid YAML: ${firstLine(broken.message)}`, {
          where: { file, line, column: col },
          expected: 'YAML 1.2 without custom tags',
        });
      }
      return {
        value: guardDepth(file, code, () => toValue(document, file, code)),
        locate: (path) => locationOf(document, lines, file, path),
        locateKey: (path, key) => keyLocation(document, lines, file, path, key),
      };
    }),
  };
}

function toValue(document: Document.Parsed, file: string, code: ErrorCode): unknown {
  try {
    return document.toJS({ maxAliasCount: MAX_ALIASES });
  } catch (error) {
    if (error instanceof ReferenceError) {
      throw new ThroughlineError(code, 'The aliases of this YAML expand to too much', {
        where: { file },
        expected: `at most ${MAX_ALIASES} expansions of aliases`,
        found: firstLine(error.message),
      });
    }
    throw error;
  }
}

/** Nesting that exhausts the stack is an input error, not a crash. */
function guardDepth<T>(file: string, code: ErrorCode, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (error instanceof RangeError) {
      throw new ThroughlineError(code, 'This YAML is nested too deeply', {
        where: { file },
        expected: 'a few levels of nesting',
      });
    }
    throw error;
  }
}

function locationOf(
  document: Document.Parsed,
  lines: LineCounter,
  file: string,
  path: readonly PropertyKey[],
): Location {
  let node: unknown = document.contents;
  let offset = rangeStart(node);
  for (const step of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (!isCollection(node)) break;
    const next: unknown = node.get(typeof step === 'symbol' ? String(step) : step, true);
    if (next === undefined) break;
    const start = rangeStart(next);
    if (start === undefined) break;
    offset = start;
    node = next;
  }
  return position(lines, file, offset);
}

function keyLocation(
  document: Document.Parsed,
  lines: LineCounter,
  file: string,
  path: readonly PropertyKey[],
  key: string,
): Location {
  let node: unknown = path.length === 0 ? document.contents : document.getIn(path, true);
  if (isAlias(node)) node = node.resolve(document);
  if (isMap(node)) {
    const pair = node.items.find(
      (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === key,
    );
    const offset = rangeStart(pair?.key);
    if (offset !== undefined) return position(lines, file, offset);
  }
  return locationOf(document, lines, file, path);
}

function rangeStart(node: unknown): number | undefined {
  return isNode(node) && node.range ? node.range[0] : undefined;
}

function position(lines: LineCounter, file: string, offset: number | undefined): Location {
  if (offset === undefined) return { file, line: 1, column: 1 };
  const { line, col } = lines.linePos(offset);
  return { file, line, column: col };
}

function firstLine(text: string): string {
  return text.split('\n', 1)[0] ?? text;
}
