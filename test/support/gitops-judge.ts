// Judges what a release changed in files of a GitOps repository. It knows nothing of how files are edited: it takes the lines
// and the values that are of a release out of both texts, by their marks (gitops-corpus.ts), and compares what is left.
import { expect } from 'vitest';
import { parseAllDocuments } from 'yaml';
import {
  type DeployTarget,
  type DesiredState,
  editTarget,
  fieldsOf,
} from '../../src/activities/gitops/edit.js';
import { desired } from './gitops-corpus.js';

export type Files = Readonly<Record<string, string>>;

export const FIRST = desired('first', '1');
export const SECOND = desired('second', '2');

/** A line that holds something of a release. */
const OURS =
  /digits-inference|digits-(?:old|first|second)|MODEL_ID|orchestration\.trace_id|resource\.opentelemetry\.io|throughline|rel-(?:first|second)|sha256:[12]{64}|00-[12]{32}-|2024-0[12]-01/;
/** A line that only leads there: a key with nothing behind it but what an empty value is written as. */
export const LEADS =
  /^\s*(?:-\s+)?["']?(?:metadata|annotations|podAnnotations|env|image|images|patches|value|modelId|tag|target)["']?:\s*(?:\{\}|\[\]|~|null|""|[|>][+-]?)?\s*(?:#.*)?$/;
/** Of an entry in `patches`. */
const ENTRY = /^\s*(?:kind: Deployment|name: digits|modelFormat: .*)$/;

const unmarked = (text: string): string[] =>
  text
    .split(/\r?\n/)
    .filter(
      (line) =>
        !OURS.test(line) &&
        !LEADS.test(line) &&
        !ENTRY.test(line) &&
        !/^\s*(?:-|[|>][+-]?(?:\s+#.*)?)\s*$/.test(line),
    );

const isOurKey = (key: string) =>
  key === 'MODEL_ID' ||
  key === 'orchestration.trace_id' ||
  /^resource\.opentelemetry\.io\/|^throughline\.dev\//.test(key);

/** Values without what is of a release, and without what is empty then. */
function rest(value: unknown): unknown {
  if (typeof value === 'string') {
    const inner = /\nkind: /.test(value) ? parsed(value) : undefined; // an inline patch
    return inner ? rest(inner) : OURS.test(value) ? undefined : value;
  }
  if (typeof value !== 'object' || value === null) return value ?? undefined;
  if (Array.isArray(value)) {
    const left = value.map(rest).filter((item) => item !== undefined);
    return left.length > 0 ? left : undefined;
  }
  const map = value as Record<string, unknown>;
  if (map.name === 'MODEL_ID' || /^throughline-/.test(String(map.path))) return undefined;
  const ours = map.name === 'inference' || map.name === 'kserve-container' || map.modelFormat !== undefined;
  const entries = Object.entries(map)
    .filter(([key]) => !isOurKey(key) && !(ours && key === 'image'))
    .filter(
      ([key]) => !['newName', 'newTag', 'digest', 'tag', 'modelId'].includes(key) || map.name === 'proxy',
    )
    .map(([key, inner]) => [key, rest(inner)] as const)
    .filter(([key, inner]) => inner !== undefined && !(key === 'name' && inner === 'inference'));
  return entries.length > 0 ? Object.fromEntries(entries) : undefined;
}

function parsed(text: string): unknown[] {
  const documents = parseAllDocuments(text, { merge: true });
  return 'empty' in documents ? [] : documents.map((document) => document.toJS() as unknown);
}

/** What is left of the documents; one that says nothing else is none. */
const left = (text: string): unknown[] => {
  const values = parsed(text).map(rest);
  return values.some((value) => value !== undefined) ? values : [];
};

export const reader = (files: Files) => async (path: string) => files[path];

export async function release(target: DeployTarget, files: Files, state: DesiredState): Promise<Files> {
  const edits = await editTarget(target, state, reader(files));
  return { ...files, ...Object.fromEntries(edits.map(({ path, text }) => [path, text])) };
}

export const texts = (files: Files): string[] =>
  Object.keys(files)
    .sort()
    .map((path) => files[path] ?? '');

/** Everything that must hold of a release into these files. */
export async function expectOnlyOurs(target: DeployTarget, files: Files): Promise<Files> {
  const once = await release(target, files, FIRST);
  expect(await editTarget(target, FIRST, reader(once)), 'made twice').toEqual([]);
  const said = await fieldsOf(target, reader(once));
  expect(said).toEqual({
    image: FIRST.image,
    modelId: FIRST.env.MODEL_ID,
    annotations: expect.objectContaining(FIRST.annotations),
  });
  for (const [path, before] of Object.entries(files)) {
    const after = once[path] ?? '';
    expect(unmarked(after), path).toEqual(unmarked(before));
    expect(left(after), path).toEqual(left(before));
    expectSameLayout(before, after);
  }
  const twice = await release(target, once, SECOND);
  expect(Object.keys(twice)).toEqual(Object.keys(once));
  for (const [path, before] of Object.entries(once)) expectOnlyValues(before, twice[path] ?? '');
  return once;
}

function expectSameLayout(before: string, after: string): void {
  const crlf = /\r\n/.test(before);
  if (crlf && !/[^\r]\n/.test(before)) expect(after).not.toMatch(/[^\r]\n/);
  if (!crlf && before.includes('\n')) expect(after).not.toContain('\r');
  expect(after.startsWith('\uFEFF'), 'byte order mark').toBe(before.startsWith('\uFEFF'));
  expect(/\n$/.test(after), 'final newline').toBe(/\n$/.test(before));
}

/** Of two releases, the later changes values alone: line by line, and only in lines that hold them. */
function expectOnlyValues(before: string, after: string): void {
  const [old, now] = [before.split('\n'), after.split('\n')];
  expect(now).toHaveLength(old.length);
  const values = /first|second|1{8,}|2{8,}|2024-0[12]-01/g;
  now.forEach((line, index) => {
    expect(line.replace(values, '…')).toBe(old[index]?.replace(values, '…'));
    if (line !== old[index]) expect(line).toMatch(OURS);
  });
  expect(after).not.toMatch(/(?:rel|digits)-first/);
}
