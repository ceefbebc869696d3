import type { Command } from 'commander';
import { committedTemplates } from '../activities/gitops/history.js';
import { ThroughlineError } from '../domain/errors.js';
import { digestOf, splitImage } from '../domain/ids.js';
import { KubernetesApi, resourcePath } from '../kubernetes/api.js';
import type { Pod } from '../kubernetes/objects.js';
import { NO_POLICY, readPolicy } from '../provenance/policy.js';
import { SignatureVerifier } from '../provenance/signing.js';
import { type Verification, verifyImage } from '../provenance/verify.js';
import { cacheDirectory, gitCacheOf } from '../worker/config.js';
import { evidenceStore } from './evidence.js';
import { EXIT, print, printJson } from './output.js';
import { onlyOf, type StoreOptions, withReader, withStore } from './store.js';

interface VerifyCommandOptions extends StoreOptions {
  readonly key?: readonly string[];
  readonly policy?: string;
  readonly identity?: string;
  readonly issuer?: string;
  readonly trustedRoot?: string;
}

/** May be given several times. */
const collect = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

const MARKS = { passed: '✔', failed: '✘', unknown: '?' } as const;

export function verifyCommand(program: Command): void {
  withStore(program.command('verify'))
    .description(
      'check that an image or a model is what its attestations say, back to commit and dataset: from its registry and a public key alone',
    )
    .argument(
      '<what>',
      'an image or a model by its reference; pod:NAMESPACE/NAME; or the id of a release, a model or anything else that is one’s alone',
    )
    .option('--key <file>', 'public key that may have signed, PEM; may be given several times', collect)
    .option('--identity <subject>', 'whom a Fulcio may have vouched for, with --issuer and --trusted-root')
    .option('--issuer <url>', 'who knows the identity')
    .option('--trusted-root <file>', 'certificates and keys of that Sigstore: trusted_root.json')
    .option('--policy <file>', 'what else has to be true')
    .action(async (what: string, options: VerifyCommandOptions) => {
      const policy = options.policy ? await readPolicy(options.policy) : NO_POLICY;
      const keys = [...(options.key ?? []), ...policy.signers];
      if ((options.identity === undefined) !== (options.issuer === undefined)) {
        throw new ThroughlineError('TL_CONFIG_INVALID', 'It is only half said who may have signed', {
          expected: '--identity SUBJECT with --issuer URL',
        });
      }
      const identities = [
        ...policy.identities,
        ...(options.identity && options.issuer
          ? [{ subject: options.identity, issuer: options.issuer }]
          : []),
      ];
      if (keys.length === 0 && identities.length === 0) {
        throw new ThroughlineError('TL_CONFIG_INVALID', 'There is nobody who may have signed', {
          expected:
            '--key FILE; --identity, --issuer and --trusted-root; or signers or identities in the policy',
        });
      }
      const trustedRoot = options.trustedRoot ?? policy.trustedRoot;
      const signatures = await SignatureVerifier.of({ keys, identities, trustedRoot });
      const evidence = evidenceStore();
      const cache = gitCacheOf(cacheDirectory());
      const committed = (repository: string, commit: string, manifest: string) =>
        committedTemplates(cache, repository, commit, manifest);
      const verified: Verification[] = [];
      for (const { image, pod } of await subjectsOf(what, options))
        verified.push(await verifyImage(image, { evidence, signatures, policy, committed, pod }));
      if (options.json) printJson(verified.length === 1 ? verified[0] : verified);
      else print(verified.map(verificationText).join('\n\n'));
      process.exitCode = verified.every((one) => one.verified) ? EXIT.ok : EXIT.failed;
    });
}

/** Something to verify; with the pod that runs it, what that says of itself is held to it. */
interface Subject {
  readonly image: string;
  readonly pod?: Pod;
}

/** An image's reference is taken as it is; everything else is looked for where it is known. */
async function subjectsOf(what: string, options: StoreOptions): Promise<Subject[]> {
  const [, namespace, name] = /^pod:([^/]+)\/([^/]+)$/.exec(what) ?? [];
  if (namespace && name) return imagesOfPod(namespace, name);
  const reference = what.replace(/^oci:\/\//, '');
  if (isImage(reference)) return [{ image: reference }];
  let image = '';
  await withReader(options, async (reader) => {
    const answer = await reader.find(what);
    const release = onlyOf(answer, what);
    const model = release.modelUri?.startsWith('oci://')
      ? release.modelUri.slice('oci://'.length)
      : undefined;
    // A model that was asked for by name, and one that came to no image.
    if (model && (answer.matches.every(({ kind }) => kind === 'model') || !release.image)) {
      image = model;
      return;
    }
    if (!release.image || !release.imageDigest) {
      throw new ThroughlineError('TL_IMAGE_NOT_FOUND', `${release.release} has built no image`);
    }
    image = `${release.image}@${release.imageDigest}`;
  });
  return [{ image }];
}

/** With a registry's name before the first slash, and a tag or a digest. */
function isImage(text: string): boolean {
  const [host = '', ...path] = text.split('/');
  return path.length > 0 && (/[.:]/.test(host) || host === 'localhost') && /[:@]/.test(path.at(-1) ?? '');
}

/** What its containers really run, by digest. */
async function imagesOfPod(namespace: string, name: string): Promise<Subject[]> {
  const api = await KubernetesApi.fromEnvironment();
  try {
    const pod = await api.get<Pod>(resourcePath('v1', namespace, 'pods', name));
    const images = (pod.status?.containerStatuses ?? []).flatMap(({ image, imageID }) => {
      const digest = digestOf(imageID);
      const repository = (imageID ?? '').includes('@')
        ? imageID?.replace(/@.*$/, '')
        : splitImage(image?.replace(/@.*$/, '') ?? '').repository;
      return digest && repository ? [{ image: `${repository}@${digest}`, pod }] : [];
    });
    if (images.length === 0)
      throw new ThroughlineError('TL_IMAGE_NOT_FOUND', `Pod ${namespace}/${name} runs no image by digest`);
    return images;
  } finally {
    await api.close();
  }
}

function verificationText({ image, digest, verified, checks, chain }: Verification): string {
  const rows = Object.entries(chain).filter(([name, value]) => name !== 'metrics' && value !== undefined);
  return [
    `${verified ? '✔ verified' : '✘ not verified'}  ${image}${digest && !image.includes(digest) ? ` (${digest})` : ''}`,
    ...checks.map(({ what, result, detail }) => `  ${MARKS[result]} ${what}${detail ? `: ${detail}` : ''}`),
    ...rows.map(([name, value]) => `  ${name.padEnd(12)} ${value}`),
  ].join('\n');
}
