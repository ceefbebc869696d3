// `{{ model.id }}` in a check: the release's own values, few and known. A value may be anything that a training program
// said; whatever it is put into, it stays a value there. Pure.
export const PLACEHOLDERS = [
  'release.id',
  'model.name',
  'model.id',
  'image.digest',
  'commit',
  'environment',
] as const;
export type Placeholder = (typeof PLACEHOLDERS)[number];
export type PlaceholderValues = Readonly<Record<Placeholder, string>>;

const PLACEHOLDER = /\{\{([^{}]*)\}\}/g;

const isKnown = (name: string): name is Placeholder => (PLACEHOLDERS as readonly string[]).includes(name);

/** What of a text looks like a placeholder and is none; undefined where all is well. */
export function strangePlaceholder(text: string): string | undefined {
  for (const [whole, name = ''] of text.matchAll(PLACEHOLDER)) {
    if (!isKnown(name.trim())) return whole;
  }
  const left = text.replaceAll(PLACEHOLDER, '');
  const open = left.indexOf('{{');
  return open < 0 ? undefined : left.slice(open, open + 40);
}

export const PLACEHOLDER_RULE = `expected placeholders of: ${PLACEHOLDERS.map((name) => `{{ ${name} }}`).join(', ')}`;

/** Puts the values in, each as `written` there. What a value brings along is not looked at again. */
export function fill(text: string, values: PlaceholderValues, written: (value: string) => string): string {
  return text.replaceAll(PLACEHOLDER, (whole, name: string) => {
    const known = name.trim();
    return isKnown(known) ? written(wellFormed(values[known])) : whole;
  });
}

/** Half of a surrogate pair can be written nowhere. */
const wellFormed = (value: string) => value.replaceAll(/\p{Cs}/gu, '\ufffd');

/** As it stands: where text is compared with text. */
export const asText = (value: string) => value;

/** In a URL's path or query. */
export const asUrlPart = (value: string) => encodeURIComponent(value);

/** In a header's value, which is ASCII (RFC 9110, section 5.5). */
export const asHeader = (value: string) => value.replaceAll(/[^\x21-\x7e]/gu, encodeURIComponent);

/** In a text that is JSON, or plain: within a string of JSON it stays one. */
export const asJsonText = (value: string) => JSON.stringify(value).slice(1, -1);

/** In a regular expression with the flag `u`, in a class too. */
export const asPattern = (value: string) =>
  [...value].map((character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`).join('');

/** The same in everything that a value of JSON holds: keys stay as they are. */
export function fillJson(value: unknown, values: PlaceholderValues): unknown {
  if (typeof value === 'string') return fill(value, values, asText);
  if (Array.isArray(value)) return value.map((one) => fillJson(one, values));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, fillJson(one, values)]));
}

/** Every text in a value of JSON. */
export function textsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => [key, ...textsOf(one)]);
}
