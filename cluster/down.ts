// Takes the cluster down. Its data stays for the next `up`; `reset` removes it too.
import { rmSync } from 'node:fs';
import type { Layout } from './layout.js';
import { shutDown } from './machine.js';
import { say, step } from './shell.js';
import { readState } from './state.js';

export async function down(layout: Layout): Promise<void> {
  const state = readState(layout);
  if (!state) {
    say(`  cluster ${layout.name} is not up`);
    return;
  }
  await step('taking the cluster down', () => shutDown(state.machine, layout));
  rmSync(layout.state, { force: true });
  rmSync(layout.run, { recursive: true, force: true });
}

export async function reset(layout: Layout): Promise<void> {
  await down(layout);
  await step('removing its data', async () => rmSync(layout.root, { recursive: true, force: true }));
}
