// Durations as Go and Kubernetes users write them: `6h`, `1h30m`, `90s`, `250ms`.
import { z } from 'zod';

const PART = /(\d+(?:\.\d+)?)(ms|s|m|h|d)/y;
const SECONDS = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 } as const;

/** The same rule as a regular expression, for the JSON Schema. */
export const DURATION_PATTERN = /^(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+$/;

/** Seconds, or undefined where the text is no duration. */
export function parseDuration(text: string): number | undefined {
  if (!DURATION_PATTERN.test(text)) return undefined;
  let seconds = 0;
  PART.lastIndex = 0;
  for (let part = PART.exec(text); part; part = PART.exec(text)) {
    seconds += Number(part[1]) * SECONDS[part[2] as keyof typeof SECONDS];
  }
  return seconds;
}

/** As a plan has it; read as seconds. */
export const duration = z
  .string()
  .regex(DURATION_PATTERN, 'expected a duration such as 90s, 15m, 6h or 1h30m')
  .describe('A duration such as 90s, 15m, 6h or 1h30m')
  .transform((text, context) => {
    const seconds = parseDuration(text);
    if (seconds === undefined || seconds <= 0 || seconds > 30 * 86_400) {
      context.addIssue({ code: 'custom', message: 'expected a duration between 1ms and 30d' });
      return z.NEVER;
    }
    return seconds;
  });

/** `6h`, `1h 30m`, `45s`, `0.3s`: for people. */
export function formatDuration(seconds: number): string {
  if (seconds < 10) return `${Number(seconds.toFixed(1))}s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole}s`;
  if (whole < 3600)
    return [`${Math.floor(whole / 60)}m`, whole % 60 && `${whole % 60}s`].filter(Boolean).join(' ');
  const minutes = Math.round(whole / 60);
  return [`${Math.floor(minutes / 60)}h`, minutes % 60 && `${minutes % 60}m`].filter(Boolean).join(' ');
}
