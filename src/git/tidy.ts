// What keeps a copy fast over the years: every fetch leaves a pack, and a ref for what was seen. git's own maintenance is
// turned off, as it would outlive the command that began it.
import { mkdir, readdir, rmdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { gitIn } from './git.js';

/** git looks for an object in one pack after the other. */
const MOST_PACKS = 100;
/** Whoever began it and does not let go has died. */
const STALE_MS = 3_600_000;

/**
 * Puts packs and refs together where there are many. Nothing that somebody may still need is dropped, and others may read
 * meanwhile: git looks again where a pack has gone. Best effort, by one at a time.
 */
export async function tidy(directory: string, partial: boolean, most = MOST_PACKS): Promise<void> {
  const packs = await readdir(join(directory, 'objects', 'pack')).catch(() => []);
  if (packs.filter((name) => name.endsWith('.pack')).length <= most) return;
  const lock = join(directory, 'throughline-tidy.lock');
  const since = await stat(lock).catch(() => undefined);
  if (since && Date.now() - since.mtimeMs > STALE_MS) await rmdir(lock).catch(() => undefined);
  const ours = await mkdir(lock).then(
    () => true,
    () => false,
  );
  if (!ours) return;
  try {
    // A partial copy's packs say that what is missing can be had; only a whole repack keeps that (git before 2.50).
    const how = partial ? ['-a', '-d', '--keep-unreachable'] : ['-d', '--geometric=2'];
    await gitIn(directory).raw(['repack', '--quiet', ...how]);
    await gitIn(directory).raw(['pack-refs', '--all']);
  } catch {
    // It is no worse than before, and tried again at the next fetch.
  } finally {
    await rmdir(lock).catch(() => undefined);
  }
}
