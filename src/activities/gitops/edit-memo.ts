// What changes did to files, remembered while a push is tried again: most of what somebody else pushes meanwhile is elsewhere,
// and editing a hundred manifests takes longer than they take until their next push.
import type { DeployEdit, HoldEdit } from './change.js';
import type { CommitFiles } from './commit-files.js';
import { editHold, editTarget } from './edit.js';
import type { FileEdit } from './target.js';

interface Remembered {
  /** What was read for it, and said what it said. */
  readonly read: ReadonlyMap<string, string | undefined>;
  readonly edits: readonly FileEdit[];
}

export class EditMemo {
  private readonly known = new WeakMap<DeployEdit | HoldEdit, Remembered>();

  /** What a change does to the files as they are. Throws where it cannot be made. */
  async editsOf(edit: DeployEdit | HoldEdit, files: CommitFiles): Promise<readonly FileEdit[]> {
    const before = this.known.get(edit);
    if (before && (await isSame(before.read, files))) return before.edits;
    const read = new Map<string, string | undefined>();
    const edits = await editsOf(edit, {
      read: async (path) => {
        const text = await files.read(path);
        read.set(path, text);
        return text;
      },
    });
    this.known.set(edit, { read, edits });
    return edits;
  }
}

/** The same, without a memory. */
export function editsOf(
  edit: DeployEdit | HoldEdit,
  files: Pick<CommitFiles, 'read'>,
): Promise<readonly FileEdit[]> {
  const read = (path: string) => files.read(path);
  return edit.kind === 'deploy' ? editTarget(edit, edit.desired, read) : editHold(edit, edit.hold, read);
}

async function isSame(read: Remembered['read'], files: CommitFiles): Promise<boolean> {
  for (const [path, text] of read) if ((await files.read(path)) !== text) return false;
  return true;
}
