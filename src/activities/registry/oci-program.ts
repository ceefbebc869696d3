// The Registry over the program throughline-oci (oci/): credentials, tokens and their helpers are its library's.
import { execFile } from 'node:child_process';
import { z } from 'zod';
import { messageOf, ThroughlineError } from '../../domain/errors.js';
import { type Digest, isDigest } from '../../domain/ids.js';
import { inheritedEnvironment } from '../../processes/index.js';
import type { Attestation, Evidence, EvidenceStore } from './evidence.js';
import type { Registry } from './registry.js';

const TIMEOUT_MS = 65_000;
/** An image has a handful of attestations, of some kilobytes each. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

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
  private readonly program: OciProgram;

  constructor(program: string) {
    this.program = new OciProgram(program);
  }

  async check(): Promise<void> {
    try {
      await this.ask('127.0.0.1:1/check@sha256:invalid', AbortSignal.timeout(TIMEOUT_MS));
    } catch (cause) {
      throw missingProgram(this.program.name, cause);
    }
  }

  async digest(reference: string, signal: AbortSignal): Promise<Digest | undefined> {
    const given = /@(sha256:[0-9a-f]{64})$/.exec(reference)?.[1];
    if (isDigest(given)) return given;
    const answer = await this.ask(reference, signal);
    if (isDigest(answer.digest)) return answer.digest;
    if (answer.reason === 'missing') return undefined;
    throw refused(reference, answer);
  }

  private async ask(reference: string, signal: AbortSignal): Promise<z.infer<typeof answerSchema>> {
    return answerSchema.parse(await this.program.run(['digest', reference], signal));
  }
}

/** The program throughline-oci. It answers with JSON whenever it could be run. */
export class OciProgram {
  constructor(readonly name: string) {}

  run(words: readonly string[], signal?: AbortSignal, input = ''): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const options = {
        env: inheritedEnvironment(PASSED_ON),
        timeout: TIMEOUT_MS,
        maxBuffer: MAX_ANSWER_BYTES,
        ...(signal ? { signal } : {}),
      };
      const child = execFile(this.name, [...words], options, (error, stdout) => {
        if (error) reject(error);
        else resolve(JSON.parse(stdout));
      });
      child.stdin?.on('error', () => undefined); // it ended without reading
      child.stdin?.end(input);
    });
  }
}

const evidenceSchema = answerSchema.extend({
  labels: z.record(z.string(), z.string()).default({}),
  layers: z.array(z.object({ digest: z.string(), size: z.number() })).default([]),
  attestations: z
    .array(z.object({ predicateType: z.string(), created: z.string().optional(), bundle: z.unknown() }))
    .default([]),
});

/** What lies beside images in registries. */
export class OciProgramEvidence implements EvidenceStore {
  constructor(private readonly program: OciProgram) {}

  async of(reference: string, signal?: AbortSignal): Promise<Evidence | undefined> {
    const answer = evidenceSchema.parse(await this.ask(['evidence', reference], signal));
    if (answer.reason === 'missing') return undefined;
    const { digest, labels, layers, attestations } = answer;
    if (!isDigest(digest)) throw refused(reference, answer);
    return { digest, labels, layers, attestations };
  }

  async attest(image: string, attestations: readonly Attestation[], signal?: AbortSignal): Promise<void> {
    const input = JSON.stringify(attestations);
    const answer = answerSchema.parse(await this.ask(['attest', image], signal, input));
    if (answer.reason === 'missing') {
      throw new ThroughlineError('TL_IMAGE_NOT_FOUND', `There is no image ${image}`, {
        found: answer.message,
      });
    }
    if (answer.reason) throw refused(image, answer);
  }

  private async ask(words: readonly string[], signal?: AbortSignal, input?: string): Promise<unknown> {
    try {
      return await this.program.run(words, signal, input);
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw missingProgram(this.program.name, cause);
    }
  }
}

function refused(reference: string, { reason, message }: z.infer<typeof answerSchema>): ThroughlineError {
  if (reason === 'denied') {
    return new ThroughlineError(
      'TL_REGISTRY_DENIED',
      `The registry does not let ${reference} be read or written`,
      {
        found: message,
      },
    );
  }
  if (reason === 'invalid') {
    return new ThroughlineError('TL_IMAGE_NOT_FOUND', `${reference} is no image reference`, {
      found: message,
    });
  }
  return new ThroughlineError('TL_REGISTRY_UNREACHABLE', `The registry of ${reference} did not answer`, {
    found: message,
  });
}

function missingProgram(program: string, cause: unknown): ThroughlineError {
  return new ThroughlineError('TL_TOOL_MISSING', `${program} cannot be run`, {
    expected: 'the program throughline-oci on PATH, or its path in THROUGHLINE_OCI_PROGRAM',
    found: messageOf(cause),
    hint: 'Build it with Go: cd oci && CGO_ENABLED=0 go build -o /usr/local/bin/throughline-oci . — the project’s image has it.',
    cause,
  });
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
