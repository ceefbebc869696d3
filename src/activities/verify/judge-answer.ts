// Whether an HTTP answer is as a plan expects it, and in which words. Pure, but for the time that a pattern is given.
import { createContext, Script } from 'node:vm';
import { asPattern, asText, fill, fillJson, type PlaceholderValues } from '../../plan/placeholders.js';
import { type HttpCheck, stepsOf } from '../../plan/verify.js';
import type { Answer } from './requests.js';

type Expectation = HttpCheck['expect'];
type Bounds = { readonly atLeast?: number | undefined; readonly atMost?: number | undefined };

/** A pattern that takes longer on an answer is none that anybody waits for (ReDoS). Milliseconds. */
const PATTERN_MS = 100;

/** What of the answer is not as expected; undefined where all of it is. */
export function wrongIn(answer: Answer, expect: Expectation, values: PlaceholderValues): string | undefined {
  const { status, body: text, cut, seconds, location } = answer;
  if (!expect.status.includes(status)) {
    const to = location ? ` to ${shorten(location)}` : '';
    const said = text.trim() ? `: ${shorten(text.trim())}` : '';
    return `status ${status}${to}${said}`;
  }
  if (expect.within !== undefined && seconds > expect.within)
    return `an answer after ${seconds.toFixed(2)} s`;
  const { body } = expect;
  if (!body) return undefined;
  if (cut) return 'an answer of more than 1 MiB';
  if (body.contains !== undefined) {
    const wanted = fill(body.contains, values, asText);
    if (!text.includes(wanted)) return `an answer without ${quote(wanted)}: ${shorten(text)}`;
  }
  if (body.matches !== undefined) {
    const matched = matchesInTime(fill(body.matches, values, asPattern), text);
    if (matched === undefined) return `an answer on which the pattern takes longer than ${PATTERN_MS} ms`;
    if (!matched) return `an answer that the pattern does not match: ${shorten(text)}`;
  }
  return body.json && wrongInJson(text, body.json, values);
}

const MATCH = new Script('new RegExp(source, "u").test(text)');

/** Undefined where it takes too long: V8 ends it then, in the middle of the pattern. */
function matchesInTime(source: string, text: string): boolean | undefined {
  try {
    return MATCH.runInContext(createContext({ source, text }), { timeout: PATTERN_MS }) === true;
  } catch {
    return undefined;
  }
}

function wrongInJson(
  text: string,
  expected: NonNullable<NonNullable<Expectation['body']>['json']>,
  values: PlaceholderValues,
): string | undefined {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    return `an answer that is no JSON: ${shorten(text)}`;
  }
  const wrong = Object.entries(expected).flatMap(([path, wanted]) => {
    const found = valueAt(answer, stepsOf(path));
    if (found === undefined) return [`no ${path}`];
    return isAsWanted(found, wanted, values) ? [] : [`${path} ${quote(found)}`];
  });
  if (wrong.length > 0) return wrong.join(', ');
  return undefined;
}

function isAsWanted(found: unknown, wanted: unknown, values: PlaceholderValues): boolean {
  if (typeof wanted !== 'object' || wanted === null) return found === fillJson(wanted, values);
  if (typeof found !== 'number') return false;
  const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = wanted as Bounds;
  return found >= atLeast && found <= atMost;
}

function valueAt(value: unknown, steps: readonly (string | number)[]): unknown {
  let current = value;
  for (const step of steps) {
    if (typeof current !== 'object' || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<string | number, unknown>)[step];
  }
  return current;
}

/** What is expected, in one line. */
export function expectationOf(expect: Expectation, values: PlaceholderValues): string {
  const { status, body, within } = expect;
  return [
    `status ${status.join(' or ')}`,
    body?.contains !== undefined && `with ${quote(fill(body.contains, values, asText))}`,
    body?.matches !== undefined && `matching /${shorten(body.matches)}/`,
    ...Object.entries(body?.json ?? {}).map(([path, wanted]) => `${path} ${describe(wanted, values)}`),
    within !== undefined && `within ${within} s`,
  ]
    .filter((part) => part !== false)
    .join(', ');
}

function describe(wanted: unknown, values: PlaceholderValues): string {
  return typeof wanted === 'object' && wanted !== null
    ? boundsOf(wanted as Bounds)
    : quote(fillJson(wanted, values));
}

/** `≥ 1 and ≤ 2` */
export function boundsOf({
  atLeast,
  atMost,
  equals,
}: Bounds & { readonly equals?: number | undefined }): string {
  return [
    equals !== undefined && `= ${equals}`,
    atLeast !== undefined && `≥ ${atLeast}`,
    atMost !== undefined && `≤ ${atMost}`,
  ]
    .filter((part) => part !== false)
    .join(' and ');
}

const quote = (value: unknown) => shorten(JSON.stringify(value) ?? 'undefined');

/** Answers may hold anything: what is kept of one fits into a line. */
export function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ');
  return line.length > 160 ? `${line.slice(0, 157)}…` : line;
}
