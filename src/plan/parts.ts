// What several parts of a plan are made of.
import { z } from 'zod';
import { DURATION_PATTERN, parseDuration } from './duration.js';

/** Names under which programs expect a secret (I9). */
export const SECRET_NAME =
  /(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|SECRET_?KEY)$/i;

/** A DNS label (RFC 1123): what Kubernetes takes as a name, and as part of one. */
export const label = z
  .string()
  .max(53)
  .regex(/^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/, 'expected lower-case letters, digits and dashes')
  .describe('Lower-case letters, digits and dashes; at most 53 characters');

export const SAFE_PATH = /^(?!\/)(?!.*(?:^|\/)\.\.(?:\/|$))[^\0-\x1f\\]+$/;

export const path = z
  .string()
  .min(1)
  .max(1024)
  .regex(SAFE_PATH, 'expected a path below the plan’s directory: relative, with /, without ..')
  .describe('A path relative to the directory of the plan; it may not leave it');

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
