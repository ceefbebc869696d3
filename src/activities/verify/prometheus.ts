// The Prometheus query: asked again and again until its threshold has held for as long as the plan wants, by the HTTP API
// (/api/v1/query). How long it has held travels with the heartbeats, so that a killed worker's successor goes on from there.
import { setTimeout as sleep } from 'node:timers/promises';
import { redact } from '../../domain/urls.js';
import { formatDuration, type PrometheusCheck } from '../../plan/index.js';
import { asHeader, fill } from '../../plan/placeholders.js';
import { fillQuery } from '../../plan/promql.js';
import { shorten } from './judge-answer.js';
import { type Held, heldOn, judgeSamples, NOT_HELD, readSamples, thresholdOf } from './judge-samples.js';
import { isSilence, type Question, type Requests } from './requests.js';
import type { Verdict, Verification, VerifyOptions } from './verifier.js';

/** One query. */
const REQUEST_SECONDS = 30;

interface Progress {
  readonly samples: number;
  readonly held: Held;
}

export async function queryUntilHeld(
  check: PrometheusCheck,
  { values, deadline }: Verification,
  requests: Requests,
  { signal, report, remembered, remember }: VerifyOptions,
): Promise<Verdict> {
  const until = Date.parse(deadline);
  const query = fillQuery(check.query, values);
  const question = questionOf(check, query, values);
  const duration = check.for > 0 ? ` for ${formatDuration(check.for)}` : '';
  const expected = `${shorten(query)} ${thresholdOf(check)}${duration}`;
  let { samples, held } = (remembered as Progress | undefined) ?? { samples: 0, held: NOT_HELD };
  const end = (passed: boolean, found: string): Verdict => ({ passed, expected, found, samples });
  report(`asking Prometheus for ${expected}`);
  for (;;) {
    const answer = await requests.ask(question, signal);
    if (isSilence(answer) && answer.final) return end(false, answer.why);
    const reading = isSilence(answer) ? { away: redact(answer.why) } : readSamples(answer);
    if ('failed' in reading) return end(false, redact(reading.failed));
    const now = Date.now();
    let found: string;
    if ('away' in reading) {
      found = reading.away;
      report(`waiting for Prometheus at ${redact(check.url)}: ${found}`);
    } else {
      samples += 1;
      const judged = judgeSamples(reading.samples, check);
      found = [judged.found, ...reading.warnings.map(shorten)].join('; ');
      if (judged.is === 'missing' && check.noData === 'fail') return end(false, found);
      held = judged.is === 'good' ? heldOn(held, now, check.every) : NOT_HELD;
      if (judged.is === 'good' && held.seconds >= check.for) return end(true, found);
      // What has been broken cannot hold for long enough any more: whoever waits for it would wait for nothing.
      if (judged.is === 'bad' && until - now < check.for * 1000) return end(false, found);
      report(
        judged.is === 'good'
          ? `${found}: has held for ${formatDuration(held.seconds)} of ${formatDuration(check.for)}`
          : `waiting for ${expected}: ${found}`,
      );
    }
    remember({ samples, held } satisfies Progress);
    if (now >= until)
      return end(false, held.seconds > 0 ? `${found}, after ${formatDuration(held.seconds)}` : found);
    const missing = held.at === undefined || check.for === 0 ? check.every : check.for - held.seconds;
    const pause = Math.min(check.every, missing) * 1000;
    await sleep(Math.max(50, Math.min(pause, until - now)), undefined, { signal });
  }
}

/** GET: what stands between may let that through alone. */
export function questionOf(
  { url, headers = {} }: PrometheusCheck,
  query: string,
  values: Verification['values'],
): Question {
  const own = Object.entries(headers).map(([name, value]) => [
    name.toLowerCase(),
    fill(value, values, asHeader),
  ]);
  return {
    url: `${url.replace(/\/+$/, '')}/api/v1/query?${new URLSearchParams({ query })}`,
    place: url,
    method: 'GET',
    headers: { accept: 'application/json', ...Object.fromEntries(own) },
    timeout: REQUEST_SECONDS,
  };
}
