// The Registry over the program throughline-oci (oci/): credentials, tokens and their helpers are its library's.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { z } from 'zod';
import { messageOf, ThroughlineError } from '../../domain/errors.js';
import { type Digest, isDigest } from '../../domain/ids.js';
import { inheritedEnvironment } from '../../processes/index.js';
import type { Registry } from './registry.js';

const run = promisify(execFile);
const TIMEOUT_MS = 45_000;

const answerSchema = z.object({
  digest: z.string().optional(),
  reason: z.enum(['invalid', 'missing', 'denied', 'unreachable']).optional(),
  message: z.string().optional(),
});

/** What it reads itself: where credentials are, which certificates to trust, the way out. Nothing else passes (I9). */
const PASSED_ON = [
  'PATH',
  'HOME',
  'DOCKER_CONFIG',
  'REGISTRY_AUTH_FILE',
  'SSL_CERT_FILE',
  'SSL_CERT_DIR',
  'HTTP_PROXY',
  'HTTPS_PROXY',
  'NO_PROXY',
];

export class OciProgramRegistry implements Registry {
  constructor(private readonly program: string) {}

  async check(): Promise<void> {
    try {
      await this.ask('127.0.0.1:1/check@sha256:invalid', AbortSignal.timeout(TIMEOUT_MS));
    } catch (cause) {
      throw new ThroughlineError('TL_TOOL_MISSING', `${this.program} cannot be run`, {
        expected: 'the program throughline-oci on PATH, or its path in THROUGHLINE_OCI_PROGRAM',
        found: messageOf(cause),
        hint: 'Build it with Go: cd oci && CGO_ENABLED=0 go build -o /usr/local/bin/throughline-oci . — the project’s image has it.',
        cause,
      });
    }
  }

  async digest(reference: string, signal: AbortSignal): Promise<Digest | undefined> {
    const given = /@(sha256:[0-9a-f]{64})$/.exec(reference)?.[1];
    if (isDigest(given)) return given;
    const { digest, reason, message } = await this.ask(reference, signal);
    if (isDigest(digest)) return digest;
    if (reason === 'missing') return undefined;
    if (reason === 'denied') {
      throw new ThroughlineError('TL_REGISTRY_DENIED', `The registry does not let ${reference} be read`, {
        found: message,
      });
    }
    if (reason === 'invalid') {
      throw new ThroughlineError('TL_IMAGE_NOT_FOUND', `${reference} is no image reference`, {
        found: message,
      });
    }
    throw new ThroughlineError('TL_REGISTRY_UNREACHABLE', `The registry of ${reference} did not answer`, {
      found: message,
    });
  }

  private async ask(reference: string, signal: AbortSignal): Promise<z.infer<typeof answerSchema>> {
    const { stdout } = await run(this.program, ['digest', reference], {
      env: inheritedEnvironment(PASSED_ON),
      timeout: TIMEOUT_MS,
      signal,
    });
    return answerSchema.parse(JSON.parse(stdout));
  }
}

/** Pins a reference: `repository:tag@sha256:…`. */
export async function pinned(registry: Registry, reference: string, signal: AbortSignal): Promise<string> {
  const digest = await registry.digest(reference, signal);
  if (!digest) {
    throw new ThroughlineError('TL_IMAGE_NOT_FOUND', `There is no image ${reference}`, {
      expected: 'an image that the registry has',
    });
  }
  return reference.includes('@') ? reference : `${reference}@${digest}`;
}
