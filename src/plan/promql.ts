// Placeholders in a PromQL query: they stand in strings, and stay strings there, whatever the value is. Pure.
import { fill, type PlaceholderValues } from './placeholders.js';

/** Strings and comments of PromQL (Prometheus documentation, "Querying basics"). */
const LITERAL = /"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`[^`]*`|#[^\n]*/g;

/** Why a query cannot have its placeholders where they are; undefined where it can. */
export function misplacedPlaceholder(query: string): string | undefined {
  if (query.replaceAll(LITERAL, '').includes('{{'))
    return 'expected placeholders within strings: {model="{{ model.id }}"}';
  const raw = [...query.matchAll(LITERAL)].some(([text]) => /^[`#]/.test(text) && text.includes('{{'));
  return raw ? 'expected placeholders within "…" or \'…\': nothing can be escaped in `…`' : undefined;
}

/** The query with its values. One that a matcher takes as a regular expression (`=~`, `!~`) matches itself alone. */
export function fillQuery(query: string, values: PlaceholderValues): string {
  return query.replaceAll(LITERAL, (text: string, offset: number) => {
    if (/^[`#]/.test(text)) return text;
    const isPattern = /[=!]~\s*$/.test(query.slice(Math.max(0, offset - 20), offset));
    return fill(text, values, (value) => asPromqlString(isPattern ? quoteMeta(value) : value));
  });
}

/** The escapes of Go, without those that depend on the quotes around them. */
function asPromqlString(value: string): string {
  return value.replaceAll(/[^A-Za-z0-9_:/@.-]/gu, (character) => {
    const code = (character.codePointAt(0) ?? 0).toString(16);
    return code.length > 4 ? `\\U${code.padStart(8, '0')}` : `\\u${code.padStart(4, '0')}`;
  });
}

/** As `regexp.QuoteMeta` of Go, whose expressions PromQL has. */
const quoteMeta = (value: string) => value.replaceAll(/[\\.+*?()|[\]{}^$]/g, '\\$&');
