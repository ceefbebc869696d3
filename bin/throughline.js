#!/usr/bin/env node
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const main = new URL('../dist/cli/main.js', import.meta.url);
if (!existsSync(fileURLToPath(main))) {
  console.error(
    'throughline is not built yet: run `npm ci && npm run build` first (`npm run demo` does it itself).',
  );
  process.exit(1);
}
await import(main.href);
