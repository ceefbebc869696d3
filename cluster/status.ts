// What runs. Exit code 0: everything; 1: something does not; 3: the cluster is down (LSB's code for a stopped program).
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { debianPrograms } from './debian.js';
import type { Layout } from './layout.js';
import { Inside, isAlive } from './machine.js';
import { say } from './shell.js';
import { readState } from './state.js';

export async function status(layout: Layout, json: boolean): Promise<number> {
  const state = readState(layout);
  const print = (value: unknown) => process.stdout.write(`${JSON.stringify(value)}\n`);
  if (!state || !isAlive(state.machine)) {
    if (json) print({ name: layout.name, running: false });
    else say(`  cluster ${layout.name} is down`);
    return 3;
  }
  const inside = new Inside(state.machine, layout, join(state.built.tools, 'tools'), await debianPrograms());
  const names = existsSync(layout.run)
    ? readdirSync(layout.run)
        .filter((file) => file.endsWith('.pid'))
        .map((file) => file.slice(0, -4))
        .sort()
    : [];
  const components: Record<string, boolean> = {};
  for (const name of names) components[name] = await inside.isRunning(name);
  const whole = Object.values(components).every(Boolean);
  if (json) print({ ...state, running: true, components });
  else for (const [name, runs] of Object.entries(components)) say(`  ${runs ? '✔' : '✘'} ${name}`);
  return whole ? 0 : 1;
}
