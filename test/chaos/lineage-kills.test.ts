// The lineage store survives its writer: killed at random while it writes, it has everything that was acknowledged, and
// nothing by halves. `npm run chaos -- lineage --kills 200` for many of them.
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Postgres } from '../support/postgres.js';
import { random } from '../support/random.js';
import { temporaryDirectory } from '../support/world.js';

const KILLS = Number(process.env.LINEAGE_KILLS ?? 8);
const SEED = Number(process.env.LINEAGE_SEED ?? 11);
const WRITER = fileURLToPath(new URL('../support/lineage-writer.mjs', import.meta.url));
const HISTORY = fileURLToPath(new URL('../histories/0.1.0/kubernetes-succeeded.json', import.meta.url));
/** From the start of a writer to its death, after its first word. Milliseconds. */
const LONGEST_MS = 400;

interface Found {
  readonly ids: readonly string[];
  readonly broken: Readonly<Record<string, number>>;
}

/** Lets a writer look, and write for so long. Gives what it found, and what it was told is safe. */
async function write(location: string, milliseconds: number): Promise<{ found: Found; safe: string[] }> {
  const child = spawn(process.execPath, [WRITER, location, HISTORY], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const safe: string[] = [];
  let found: Found | undefined;
  await new Promise<void>((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`the writer ended with ${code}`)));
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (found) safe.push(...line.split(' '));
      else {
        found = JSON.parse(line) as Found;
        resolve();
      }
    });
  });
  await sleep(milliseconds);
  child.kill('SIGKILL');
  await gone;
  if (!found) throw new Error('the writer said nothing');
  return { found, safe };
}

async function survives(location: string): Promise<void> {
  const next = random(SEED);
  const safe = new Set<string>();
  let longest = LONGEST_MS;
  for (let kill = 0; kill <= KILLS; kill += 1) {
    const { found, safe: more } = await write(location, kill === KILLS ? 0 : next() * longest);
    expect(Object.entries(found.broken).filter(([, count]) => count !== 0)).toEqual([]);
    const there = new Set(found.ids);
    expect([...safe].filter((id) => !there.has(id))).toEqual([]);
    for (const id of more) safe.add(id);
    if (more.length === 0) longest *= 1.3; // a slow machine, on which it would never come to anything
    if (kill > 0 && kill % 20 === 0) console.log(`${kill} of ${KILLS} kills, ${safe.size} releases are safe`);
  }
  expect(safe.size).toBeGreaterThan(KILLS);
}

describe(`a writer killed ${KILLS} times`, () => {
  let postgres: Postgres;
  const directory = temporaryDirectory('lineage-kills');
  beforeAll(async () => {
    postgres = await Postgres.start();
  });
  afterAll(async () => {
    await postgres?.stop();
    rmSync(directory, { recursive: true, force: true });
  });

  it('leaves the embedded store whole', { timeout: 60_000 + KILLS * 10_000 }, () =>
    survives(join(directory, 'embedded')),
  );

  it('leaves PostgreSQL whole', { timeout: 60_000 + KILLS * 10_000 }, () => survives(postgres.url));
});
