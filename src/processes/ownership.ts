// Exactly one live supervisor a task. An owner file is created with its content in one step and never changed; a dead
// owner is succeeded by creating the next number, which only one can do.
import { createExclusively, readJson } from './files.js';
import { identify, isAlive, type ProcessIdentity } from './identity.js';
import { layout, ownerGenerations } from './layout.js';

/** The live owner of a task, if it has one. */
export async function liveOwner(task: string): Promise<ProcessIdentity | undefined> {
  const generation = (await ownerGenerations(task)).at(-1);
  if (generation === undefined) return undefined;
  const owner = await readJson<ProcessIdentity>(layout.owner(task, generation));
  return owner && (await isAlive(owner)) ? owner : undefined;
}

/** Makes this process the owner. False where another live one is. */
export async function becomeOwner(task: string): Promise<boolean> {
  const self = await identify(process.pid);
  if (!self) throw new Error('cannot identify the own process');
  for (;;) {
    if (await liveOwner(task)) return false;
    const next = ((await ownerGenerations(task)).at(-1) ?? 0) + 1;
    if (await createExclusively(layout.owner(task, next), JSON.stringify(self))) return true;
  }
}
