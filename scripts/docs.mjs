// Writes the documents that come out of the code: the plan's JSON Schema, the OpenAPI document, the list of errors.
// A test fails where they are out of date. Run after `npm run build`.
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const { generatedDocuments } = await import(`${root}/dist/docs/generated.js`);
mkdirSync(`${root}/docs`, { recursive: true });
for (const [path, text] of Object.entries(generatedDocuments())) writeFileSync(`${root}/docs/${path}`, text);
