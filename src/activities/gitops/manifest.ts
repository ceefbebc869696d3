// What a release changes in a plain manifest, and nothing else (DESIGN §4, GitOps): the pods' annotations, the container's
// image, and MODEL_ID in its environment.
import { parseDocuments, valueAt } from './fields.js';
import { HOLD_ANNOTATION, type OpenTarget } from './target.js';
import { findContainer, workloadChanges, workloadSays } from './workloads.js';

export { type DeployedTemplate, deployedIn } from './deployed.js';

/** A manifest with a workload of ours. Throws where it has none, or more than one. */
export function openManifest(text: string, file: string, container: string): OpenTarget {
  const values = parseDocuments(text, file);
  const found = findContainer(values, file, container);
  const { kind, name, document, annotations } = found;
  const value = values[document];
  return {
    workload: { kind, name },
    texts: new Map([[file, text]]),
    changes: (desired) => workloadChanges(value, file, found, desired),
    said: () => workloadSays(value, annotations, found.container),
    // The workload's own come first: changing them starts no pods.
    holds: () =>
      [['metadata', 'annotations'], annotations].map((map) => {
        const path = [...map, HOLD_ANNOTATION];
        return { file, document, path, value: valueAt(value, path) };
      }),
    prerequisites: () => [],
  };
}
