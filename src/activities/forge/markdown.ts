// Text of others in Markdown that forges render: it is shown as it is, and does nothing. Numbered where it is kept:
//
// 1. It stands in code spans, where no forge looks for links, HTML, mentions, references or emoji.
// 2. It ends no span, no cell of a table and no line.
// 3. A message of a squash commit takes the text along without the spans: what mentions, refers, closes or skips there is
//    broken by a character that has no width.
// 4. What cannot be seen, or turns the order of text around, is shown as a replacement character.

/** Longer than any digest with its name. */
const MOST = 200;
const GAP = '\u200b'; // ZERO WIDTH SPACE

/** As code: `name`. A dash where there is nothing. */
export function code(text: string, most = MOST): string {
  const plain = inert(text, most);
  if (plain.trim() === '') return '–';
  // (2) CommonMark, "Code spans": the fence is longer than any run of backticks within.
  const longest = Math.max(0, ...(plain.match(/`+/g) ?? []).map(({ length }) => length));
  const fence = '`'.repeat(longest + 1);
  const padding = plain.startsWith('`') || plain.endsWith('`') ? ' ' : '';
  return `${fence}${padding}${plain}${padding}${fence}`;
}

/** As code, in a cell of a table. */
export function cell(text: string, most = MOST): string {
  // (2) GFM, "Tables": only a backslash keeps a pipe in its cell, and a backslash before that one would free it again.
  return code(text.replaceAll('\\|', `\\${GAP}|`), most).replaceAll('|', '\\|');
}

/** For a title, which forges show as text, and in which some look for mentions and references. One line. */
export function titleText(text: string, most = MOST): string {
  return unlinked(inert(text, most))
    .replace(/[`*_~<>&|\\[\]]/g, (character) => `${GAP}${character}${GAP}`)
    .replace(/:(?=\w)/g, `:${GAP}`);
}

/** One line that does nothing where it stands as text. */
export function inert(text: string, most = MOST): string {
  const visible = wellFormed(text)
    .replace(/[\r\n\t\u2028\u2029]+/g, ' ')
    .replace(/[\0-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]/g, '\ufffd'); // (4);
  const characters = [...visible];
  const short = characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : visible;
  const spaced = short
    .replace(/[@#!$%^~&](?=[\w{[("'])/g, (sign) => `${sign}${GAP}`) // (3)
    .replace(/\[(?=\s*(?:skip|ci|no|azurepipelines|cd))/gi, `[${GAP}`) // (3)
    .replace(/\b(gh)-(?=\d)/gi, `$1-${GAP}`); // (3)
  // (3) "Closes https://…"; an address alone is left as it is, to be copied.
  return /\s/.test(spaced) ? unlinked(spaced) : spaced;
}

function unlinked(text: string): string {
  return text.replace(/:\/\//g, `:${GAP}//`).replace(/\b(www)\./gi, `$1${GAP}.`);
}

/** Halves of surrogate pairs have no place in UTF-8. */
export function wellFormed(text: string): string {
  return text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, '\ufffd');
}

/** A link with a text of our own making. Undefined where the address is none of the web. */
export function link(text: string, url: string | undefined): string | undefined {
  if (url === undefined || !URL.canParse(url)) return undefined;
  const { protocol, href, username, password } = new URL(url);
  if (!/^https?:$/.test(protocol) || username || password) return undefined;
  const safe = href.replace(/[()<>[\]\\`|*_~!'"\s]/g, (character) =>
    [...new TextEncoder().encode(character)].map((byte) => `%${byte.toString(16).toUpperCase()}`).join(''),
  );
  return `[${text}](${safe})`;
}
