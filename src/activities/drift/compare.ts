// How what a manifest, a workload or a pod says of itself differs from what was released. Pure.

import type { Drift, ExpectedState } from '../../domain/drift.js';
import { digestOf } from '../../domain/ids.js';
import type { Pod, PodTemplate } from '../../kubernetes/objects.js';
import { ATTR, RESOURCE_ANNOTATION_PREFIX, TRACE_ANNOTATION } from '../../telemetry/attributes.js';
import { MODEL_VARIABLE } from '../gitops/target.js';

const annotation = (name: string) => `${RESOURCE_ANNOTATION_PREFIX}${name}`;

/** DESIGN §4, GitOps: what a release writes beside its image. */
function annotationsOf({ release, modelId, sourceCommit, dataset }: ExpectedState): Record<string, string> {
  const values = {
    [annotation(ATTR.pipelineRunId)]: release,
    [annotation(ATTR.modelId)]: modelId,
    [annotation(ATTR.headRevision)]: sourceCommit,
    [annotation(ATTR.datasetName)]: dataset?.name,
    [annotation(ATTR.datasetVersion)]: dataset?.version,
  };
  return Object.fromEntries(
    Object.entries(values).flatMap(([name, value]) => (value ? [[name, value]] : [])),
  );
}

/** Of a pod template, or of what a pod was made from; values of a chart need not name the model as pods do. */
export function differences(
  where: string,
  template: PodTemplate,
  expected: ExpectedState,
  namesModel = true,
): Drift[] {
  const drifts: Drift[] = [];
  const { imageDigest, modelId, traceId } = expected;
  const containers = template.spec?.containers ?? [];
  const ours = containers.find(({ image }) => digestOf(image) === imageDigest);
  if (imageDigest && !ours) {
    const found = containers.map(({ image }) => image ?? '').join(', ') || 'no container';
    drifts.push({ what: 'image', where, expected: imageDigest, found });
  }
  const annotations = template.metadata?.annotations ?? {};
  const said = (name: string) => annotations[name] ?? 'nothing';
  for (const [name, value] of Object.entries(annotationsOf(expected))) {
    if (annotations[name] !== value)
      drifts.push({ what: 'annotation', where: `${where}, ${name}`, expected: value, found: said(name) });
  }
  // Its span is the stage's, which the lineage does not tell from the others of the trace.
  if (traceId && annotations[TRACE_ANNOTATION]?.split('-')[1] !== traceId)
    drifts.push({
      what: 'annotation',
      where: `${where}, ${TRACE_ANNOTATION}`,
      expected: `trace ${traceId}`,
      found: said(TRACE_ANNOTATION),
    });
  const served = ours?.env?.find(({ name }) => name === MODEL_VARIABLE)?.value;
  if (namesModel && modelId && ours && served !== modelId)
    drifts.push({
      what: 'model',
      where: `${where}, ${MODEL_VARIABLE}`,
      expected: modelId,
      found: served ?? 'nothing',
    });
  return drifts;
}

/** Of a pod: what it was made from, and what its container really runs. */
export function podDifferences(pod: Pod, expected: ExpectedState): Drift[] {
  const where = `pod ${pod.metadata.namespace}/${pod.metadata.name}`;
  const drifts = differences(
    where,
    { metadata: pod.metadata, ...(pod.spec ? { spec: pod.spec } : {}) },
    expected,
  );
  const ours = pod.spec?.containers?.find(({ image }) => digestOf(image) === expected.imageDigest);
  const status = pod.status?.containerStatuses?.find(({ name }) => name === ours?.name);
  const running = digestOf(status?.imageID);
  // Some runtimes name images by something else than the digest that they were pulled by.
  if (expected.imageDigest && running && running !== expected.imageDigest)
    drifts.push({ what: 'image', where, expected: expected.imageDigest, found: `it runs ${running}` });
  return drifts;
}

/** Of everything that a manifest deploys, what is of this release; else what can only be meant. */
export function templateOf<T extends PodTemplate>(
  templates: readonly T[],
  { release, imageDigest }: ExpectedState,
): T | undefined {
  return (
    templates.find(({ metadata }) => metadata?.annotations?.[annotation(ATTR.pipelineRunId)] === release) ??
    templates.find(({ spec }) => spec?.containers?.some(({ image }) => digestOf(image) === imageDigest)) ??
    (templates.length === 1 ? templates[0] : undefined)
  );
}
