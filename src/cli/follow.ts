// Follows a release to its end, telling what changes as it changes.
import { setTimeout as sleep } from 'node:timers/promises';
import { ThroughlineError } from '../domain/errors.js';
import { describeProgress } from '../gateway/present.js';
import type { ReleaseService, ReleaseView, StartedRelease } from '../releases/service.js';
import { describeRelease, describeStage } from './describe.js';
import { exitCodeOf, print, printJson, say } from './output.js';

const POLL_MS = 500;

export async function follow(
  releases: ReleaseService,
  id: string,
  say: (text: string) => void,
): Promise<ReleaseView> {
  const ended = new Set<string>();
  let last = '';
  let silent = false;
  for (;;) {
    const view = await releases.get(id).catch((error: unknown) => {
      // The release goes on while Temporal is away; whoever waits for it waits too.
      if (!(error instanceof ThroughlineError) || error.code !== 'TL_TEMPORAL_UNAVAILABLE') throw error;
      if (!silent) say(`waiting: ${error.message}`);
      silent = true;
      return undefined;
    });
    if (view) {
      silent = false;
      for (const stage of view.record.stages) {
        if (stage.endedAt && !ended.has(stage.name)) {
          ended.add(stage.name);
          say(`  ${describeStage(stage)}`);
        }
      }
      if (view.record.outcome) return view;
      const progress = describeProgress(view.record, view.pending);
      if (progress !== last) say(`  … ${progress}`);
      last = progress;
    }
    await sleep(POLL_MS);
  }
}

/** Prints what was started, or follows it to its end. Gives the exit code. */
export async function printStarted(
  releases: ReleaseService,
  started: StartedRelease,
  { wait, json }: { readonly wait?: boolean; readonly json?: boolean },
): Promise<number> {
  if (!wait) {
    if (json) printJson({ id: started.release, status: 'RUNNING', ...started });
    else print(started.release);
    return 0;
  }
  const view = await follow(releases, started.release, say);
  if (json) printJson(view.record);
  else print(describeRelease(view));
  return exitCodeOf(view.record.status);
}
