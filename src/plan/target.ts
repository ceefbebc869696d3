// How a deploy entry says what is edited where no plain manifest is: a kustomization, or the values of a Helm chart.
import { z } from 'zod';

/** Kinds that serve a model: what a release is written into. */
export const WORKLOAD_KINDS = [
  'Deployment',
  'StatefulSet',
  'DaemonSet',
  'Rollout',
  'InferenceService',
] as const;

const WORKLOAD = new RegExp(`^(?:${WORKLOAD_KINDS.join('|')})/[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?$`);

/** The names under which Kustomize looks for its file. */
const KUSTOMIZATION = /(?:^|\/)(?:kustomization\.ya?ml|Kustomization)$/;

/** A key of `helm --set`, with `\` before what would mean something else there. */
const KEY = String.raw`(?:[^\s\0-\x1f.,=[\]{}\\"']|\\[.,=[\]{}\\])+`;
const VALUES_PATH = new RegExp(String.raw`^${KEY}(?:\.${KEY}|\[\d{1,2}\])*$`);

const workload = z
  .string()
  .regex(
    WORKLOAD,
    `expected a kind and a name, such as Deployment/digits; kinds: ${WORKLOAD_KINDS.join(', ')}`,
  );

const container = z
  .string()
  .regex(/^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/, 'expected the name of a container')
  .describe('The container that serves the model');

export const valuesPath = z
  .string()
  .max(500)
  .regex(
    VALUES_PATH,
    'expected a path as `helm --set` has it: inference.image, containers[0].image, a\\.b.c',
  );

const kustomize = z
  .strictObject({
    image: z
      .string()
      .min(1)
      .max(255)
      .regex(/^[^\s:@]+(?::\d+\/[^\s:@]+)?$/, 'expected the name in `images`, without tag and digest')
      .describe('The image as the base names it: `name` of an entry in `images`'),
    workload: workload.describe('The workload as the base names it, before any prefix: Deployment/digits'),
    container,
  })
  .describe('`manifest` is a kustomization');

const splitImage = z
  .strictObject({
    registry: valuesPath.optional(),
    repository: valuesPath,
    tag: valuesPath.optional(),
    digest: valuesPath.optional().describe('Without it the tag is written as tag@sha256:…'),
  })
  .refine(({ tag, digest }) => tag !== undefined || digest !== undefined, {
    message: 'expected tag, digest, or both: the image is pinned',
    path: ['digest'],
  });

const helm = z
  .strictObject({
    image: z
      .union(
        [valuesPath, splitImage],
        'expected a path as `helm --set` has it, or one for each part of the image',
      )
      .describe('Where the image stands: one path of repository:tag@digest, or one for each part'),
    annotations: valuesPath.describe('Where the map of the pods’ annotations is'),
    modelId: valuesPath.optional().describe('Where the model’s id stands, if the chart has a value for it'),
    env: valuesPath
      .optional()
      .describe('Otherwise: where the container’s environment is, as a list of name and value, or a map'),
    workload: workload.describe('The workload that the chart makes of it: Deployment/digits'),
    container,
  })
  .refine(({ modelId, env }) => (modelId === undefined) !== (env === undefined), {
    message: 'expected modelId or env: where MODEL_ID comes from, once',
    path: ['modelId'],
  })
  .describe('`manifest` is a file of Helm values');

export type KustomizeTarget = z.output<typeof kustomize>;
export type HelmTarget = z.output<typeof helm>;

/** The keys of a deploy entry that say how its file is edited. */
export const targetKeys = { kustomize: kustomize.optional(), helm: helm.optional() };

interface WrittenTarget {
  readonly manifest: string;
  readonly container?: string | undefined;
  readonly kustomize?: KustomizeTarget | undefined;
  readonly helm?: HelmTarget | undefined;
}

/** What the keys of a target have to do with each other. */
export function checkTarget(target: WrittenTarget, context: z.RefinementCtx): void {
  const refuse = (path: string, message: string) =>
    context.addIssue({ code: 'custom', path: [path], message });
  const { kustomize, helm } = target;
  if (kustomize && helm) refuse('helm', 'expected kustomize or helm, not both');
  const kind = kustomize ? 'kustomize' : helm ? 'helm' : undefined;
  if (!kind && target.container === undefined)
    refuse('container', 'expected the name of the container; or kustomize, or helm');
  if (kind && target.container !== undefined)
    refuse('container', `expected it below ${kind} alone, as ${kind}.container`);
  if (kustomize && !KUSTOMIZATION.test(target.manifest))
    refuse(
      'manifest',
      'expected a file that Kustomize reads: kustomization.yaml, kustomization.yml or Kustomization',
    );
}

/** As JSON Schema has it: exactly one of the three. */
export const ONE_TARGET = {
  oneOf: [{ required: ['container'] }, { required: ['kustomize'] }, { required: ['helm'] }],
};

/** The container that serves the model, wherever the entry names it. */
export function containerOf({ container, kustomize, helm }: Omit<WrittenTarget, 'manifest'>): string {
  return container ?? kustomize?.container ?? helm?.container ?? '';
}

/** Keys and indices of a path as `helm --set` has it: `a\.b.c[0]` is a.b, c, 0. */
export function parseValuesPath(path: string): (string | number)[] {
  return [...path.matchAll(/\[(\d+)\]|((?:\\.|[^.[\\])+)/g)].map(([, index, key]) =>
    index === undefined ? (key ?? '').replace(/\\(.)/g, '$1') : Number(index),
  );
}
