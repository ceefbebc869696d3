// The HTTP probe: asks until the answer is as expected, often enough in a row. Who does not answer is waited for.
import { setTimeout as sleep } from 'node:timers/promises';
import { redact } from '../../domain/urls.js';
import type { HttpCheck } from '../../plan/index.js';
import { asHeader, asJsonText, asUrlPart, fill, fillJson } from '../../plan/placeholders.js';
import { expectationOf, wrongIn } from './judge-answer.js';
import { isSilence, type Question, type Requests } from './requests.js';
import type { Verdict, Verification, VerifyOptions } from './verifier.js';

interface Progress {
  readonly samples: number;
  readonly wrong: number;
  readonly inARow: number;
}

export async function probe(
  check: HttpCheck,
  { values, deadline, trace }: Verification,
  requests: Requests,
  { signal, report, remembered, remember }: VerifyOptions,
): Promise<Verdict> {
  const until = Date.parse(deadline);
  const question = questionOf(check, { values, trace });
  const place = `${check.method} ${redact(question.url)}`;
  const times = check.successes > 1 ? `, ${check.successes} times in a row` : '';
  const expected = `${place}: ${expectationOf(check.expect, values)}${times}`;
  let progress = (remembered as Progress | undefined) ?? { samples: 0, wrong: 0, inARow: 0 };
  report(`asking ${place}`);
  for (;;) {
    const left = Math.max(1, (until - Date.now()) / 1000);
    const answer = await requests.ask({ ...question, timeout: Math.min(check.requestTimeout, left) }, signal);
    const { samples, wrong, inARow } = progress;
    const end = (passed: boolean, found: string): Verdict => {
      return { passed, expected, found: redact(found), samples: progress.samples };
    };
    let found: string;
    if (isSilence(answer)) {
      found = answer.why;
      progress = { samples, wrong, inARow: 0 };
      if (answer.final) return end(false, found);
      report(`waiting for ${place}: ${redact(found)}`);
    } else {
      const complaint = wrongIn(answer, check.expect, values);
      found = complaint ?? `status ${answer.status} after ${answer.seconds.toFixed(2)} s`;
      progress = complaint
        ? { samples: samples + 1, wrong: wrong + 1, inARow: 0 }
        : { samples: samples + 1, wrong, inARow: inARow + 1 };
      if (progress.inARow >= check.successes) return end(true, found);
      if (complaint && progress.wrong >= (check.attempts ?? Number.POSITIVE_INFINITY))
        return end(false, found);
      report(
        complaint
          ? `${place} is not as expected: ${redact(found)}`
          : `${place} is as expected, ${progress.inARow} of ${check.successes}`,
      );
    }
    remember(progress);
    if (Date.now() >= until) return end(false, found);
    await sleep(Math.min(check.interval * 1000, Math.max(0, until - Date.now())), undefined, { signal });
  }
}

/** What is asked, with the release's values in it. */
export function questionOf(
  { url, method, headers = {}, body }: HttpCheck,
  { values, trace }: Pick<Verification, 'values' | 'trace'>,
): Omit<Question, 'timeout'> {
  const isJson = body !== undefined && typeof body !== 'string';
  const own = Object.entries(headers).map(([name, value]) => [
    name.toLowerCase(),
    fill(value, values, asHeader),
  ]);
  return {
    url: new URL(fill(url, values, asUrlPart)).href,
    method,
    headers: {
      ...(isJson ? { 'content-type': 'application/json' } : {}),
      ...Object.fromEntries(own),
      traceparent: trace.traceparent,
      ...(trace.tracestate ? { tracestate: trace.tracestate } : {}),
    },
    body: isJson ? JSON.stringify(fillJson(body, values)) : body && fill(body, values, asJsonText),
  };
}
