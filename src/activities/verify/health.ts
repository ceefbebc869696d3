// Health: looks at what runs for as long as the plan wants. How long it has ailed on end travels with the heartbeats, so that
// a killed worker's successor goes on from there.
import { formatDuration, type HealthCheck } from '../../plan/index.js';
import { LOOK_SECONDS, type Look } from '../argocd/watcher.js';
import { type Held, heldOn, NOT_HELD } from './judge-samples.js';
import type { Verdict, Verification, VerifyOptions } from './verifier.js';

interface Progress {
  readonly samples: number;
  readonly ailing: Held;
}

/** Where nobody can look it goes on looking: that says nothing of the deployment. */
export async function stayHealthy(
  check: HealthCheck,
  { deadline }: Verification,
  looks: AsyncIterable<Look>,
  { report, remembered, remember }: VerifyOptions,
): Promise<Verdict> {
  const until = Date.parse(deadline) - check.tolerance * 1000;
  const expected = `healthy for ${formatDuration(check.for)}, and never ailing for ${formatDuration(check.tolerance)} on end`;
  let { samples, ailing } = (remembered as Progress | undefined) ?? { samples: 0, ailing: NOT_HELD };
  for await (const look of looks) {
    if (look.is === 'unseen') {
      report(look.why);
      continue;
    }
    const now = Date.now();
    samples += 1;
    ailing = look.is === 'ailing' ? heldOn(ailing, now, LOOK_SECONDS) : NOT_HELD;
    const ill = look.is === 'ailing' && look.why;
    if (ill && ailing.seconds >= check.tolerance) return { passed: false, expected, found: ill, samples };
    if (!ill && now >= until) return { passed: true, expected, found: 'it stayed healthy', samples };
    remember({ samples, ailing } satisfies Progress);
    report(
      ill
        ? `ailing for ${formatDuration(Math.floor(ailing.seconds))} of at most ${formatDuration(check.tolerance)}: ${ill}`
        : `healthy; ${formatDuration(Math.ceil((until - now) / 1000))} to go`,
    );
  }
  throw new Error('looks have no end');
}
