// The GitOps manifest: only the lines that must change do, whatever the rest of the file looks like.
import { describe, expect, it } from 'vitest';
import { parseAllDocuments } from 'yaml';
import { applyChanges } from '../../src/activities/gitops/fields.js';
import { openManifest } from '../../src/activities/gitops/manifest.js';
import type { DesiredState } from '../../src/activities/gitops/target.js';
import { ThroughlineError } from '../../src/domain/errors.js';

type ManifestChange = DesiredState & { readonly container: string };

const editManifest = (text: string, file: string, change: ManifestChange): string =>
  applyChanges(text, file, openManifest(text, file, change.container).changes(change));

const IMAGE = `registry.example/ml/digits-inference:rel-x@sha256:${'a'.repeat(64)}`;
const TRACE = `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01`;

const change: ManifestChange = {
  container: 'inference',
  image: IMAGE,
  env: { MODEL_ID: 'digits-0123' },
  annotations: { 'orchestration.trace_id': TRACE, 'resource.opentelemetry.io/ml.model.id': 'digits-0123' },
};

/** Lines of `after` that are not in `before`, and the other way round, as `+` and `-` lines in order. */
function changedLines(before: string, after: string): string[] {
  const a = before.split('\n');
  const b = after.split('\n');
  const length: number[][] = Array.from({ length: a.length + 1 }, () => new Array(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      const row = length[i] as number[];
      row[j] =
        a[i] === b[j]
          ? 1 + ((length[i + 1] as number[])[j + 1] as number)
          : Math.max((length[i + 1] as number[])[j] as number, row[j + 1] as number);
    }
  }
  const changed: string[] = [];
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      i += 1;
      j += 1;
    } else if (
      j >= b.length ||
      (i < a.length &&
        ((length[i + 1] as number[])[j] as number) >= ((length[i] as number[])[j + 1] as number))
    ) {
      changed.push(`-${a[i++]}`);
    } else changed.push(`+${b[j++]}`);
  }
  return changed;
}

function deployment(text: string): {
  annotations: Record<string, string>;
  container: Record<string, unknown>;
  all: unknown;
} {
  const values = parseAllDocuments(text, { merge: true }).map((document) => document.toJS());
  const workload = values.find((value) => value?.spec?.template?.spec?.containers);
  const { metadata, spec } = workload.spec.template;
  return {
    annotations: metadata.annotations,
    container: spec.containers.find((one: { name: string }) => one.name === 'inference'),
    all: values,
  };
}

function expectChanged(text: string): string {
  const edited = editManifest(text, 'k8s/deployment.yaml', change);
  const { annotations, container } = deployment(edited);
  expect(annotations).toMatchObject(change.annotations);
  expect(container.image).toBe(IMAGE);
  expect(container.env).toContainEqual({ name: 'MODEL_ID', value: 'digits-0123' });
  return edited;
}

const FULL = `# The digits service.  Owned by ml-platform.

apiVersion: v1
kind: Service
metadata:   {name: digits, labels: &labels {app: digits,   tier: "ml"}}
spec: {selector: {app: digits}, ports: [{port: 80, targetPort: 8080}]}
---
# ---------------------------------------------------------------
apiVersion: apps/v1
kind: Deployment
metadata:
    name: digits      # four spaces here
    labels:
        app: digits
spec:
    replicas: 2
    selector: { matchLabels: { app: digits } }
    template:
        metadata:
            annotations:
                # who scrapes us
                prometheus.io/scrape: 'true'
                orchestration.trace_id: "none"   # written by the release
            labels: {app: digits}
        spec:
            containers:
            -   name: proxy
                image: &proxyImage registry.example/proxy:1.2   # pinned by security
                resources: &small
                    limits: {cpu: 100m, memory: 64Mi}
            # the model server
            -   name: inference
                image: registry.example/ml/digits-inference:dev   # replaced on release
                resources:
                    <<: *small
                env:
                -   name: LOG_LEVEL
                    value: info
                -   {name: MODEL_ID, value: none}      # flow style
                -   name: TRACE
                    valueFrom: {fieldRef: {fieldPath: "metadata.annotations['orchestration.trace_id']"}}
                args:   [ "--port",   "8080" ]
            -   name: proxy-copy
                image: *proxyImage
`;

describe('editManifest', () => {
  it('changes only the lines it must, among comments, anchors and odd formatting', () => {
    expect(changedLines(FULL, expectChanged(FULL))).toEqual([
      '-                orchestration.trace_id: "none"   # written by the release',
      `+                orchestration.trace_id: "${TRACE}"   # written by the release`,
      '+                resource.opentelemetry.io/ml.model.id: digits-0123',
      '-                image: registry.example/ml/digits-inference:dev   # replaced on release',
      `+                image: ${IMAGE}   # replaced on release`,
      '-                -   {name: MODEL_ID, value: none}      # flow style',
      '+                -   {name: MODEL_ID, value: digits-0123}      # flow style',
    ]);
  });

  it('is the same when it is made twice', () => {
    const once = expectChanged(FULL);
    expect(expectChanged(once)).toBe(once);
  });

  it('keeps CRLF line endings and a missing final newline', () => {
    const text = FULL.replaceAll('\n', '\r\n').replace(/\r\n$/, '');
    const edited = expectChanged(text);
    expect(edited.replaceAll('\r\n', '')).not.toMatch(/[\r\n]/);
    expect(edited.endsWith('*proxyImage')).toBe(true);
  });

  it('adds annotations, env and image where there are none', () => {
    const text = `apiVersion: apps/v1
kind: StatefulSet
metadata: { name: digits }
spec:
  template:
    spec:
      containers:
        - name: inference   # no image yet
          ports: [{ containerPort: 8080 }]
`;
    const edited = expectChanged(text);
    expect(changedLines(text, edited).every((line) => line.startsWith('+'))).toBe(true);
    expect(edited).toContain('# no image yet');
  });

  it('fills annotations that are empty or null', () => {
    for (const empty of ['annotations:', 'annotations: {}', 'annotations: ~', 'annotations:   # none yet']) {
      const text = `kind: Deployment
spec:
  template:
    metadata:
      labels: { app: digits }
      ${empty}
    spec:
      containers:
      - image: x
        name: inference
        env: []
`;
      expectChanged(text);
    }
  });

  it('works in flow style altogether, JSON included', () => {
    const value = {
      kind: 'Deployment',
      spec: { template: { metadata: {}, spec: { containers: [{ name: 'inference', image: 'x' }] } } },
    };
    expectChanged(JSON.stringify(value));
    expectChanged(JSON.stringify(value, null, 4));
    expectChanged(
      '{kind: Deployment, spec: {template: {spec: {containers: [{name: inference, image: x,}]}}}}',
    );
  });

  it('does not change what shares an anchor with our fields', () => {
    const text = `kind: Deployment
metadata:
  name: digits
  annotations: &notes
    team: ml
spec:
  template:
    metadata:
      annotations: *notes
    spec:
      containers:
        - name: first
          image: &image registry.example/base:1
          env: &env
            - name: A
              value: "1"
        - name: inference
          image: *image
          env: *env
        - name: third
          image: *image
          env: *env
`;
    const edited = expectChanged(text);
    const before = parseAllDocuments(text)[0]?.toJS();
    const after = parseAllDocuments(edited)[0]?.toJS();
    expect(after.metadata).toEqual(before.metadata);
    expect(after.spec.template.spec.containers[0]).toEqual(before.spec.template.spec.containers[0]);
    expect(after.spec.template.spec.containers[2]).toEqual(before.spec.template.spec.containers[2]);
  });

  it('takes an anchor of our own field apart, so that its aliases keep their value', () => {
    const text = `kind: Deployment
spec:
  template:
    metadata: { annotations: &notes { team: ml } }
    spec:
      containers:
        - &base
          name: inference
          image: &image registry.example/base:1
          env: &env
            - { name: MODEL_ID, value: old }
        - name: copy
          image: *image
          env: *env
        - <<: *base
          name: merged
`;
    const edited = expectChanged(text);
    const before = parseAllDocuments(text, { merge: true })[0]?.toJS();
    const after = parseAllDocuments(edited, { merge: true })[0]?.toJS();
    for (const index of [1, 2]) {
      expect(after.spec.template.spec.containers[index]).toEqual(before.spec.template.spec.containers[index]);
    }
  });

  it('replaces quoted, folded and empty values', () => {
    for (const image of ["'old'", '"old"', '>-\n            old', 'old', '', '!!str old']) {
      expectChanged(`kind: Deployment
spec:
  template:
    spec:
      containers:
        - name: inference
          image: ${image}
          env:
            - name: MODEL_ID
              value: |
                old
            - name: LAST
              value: x
`);
    }
  });

  it('keeps values that would not be text without quotes as text', () => {
    const edited = editManifest(FULL, 'f', {
      ...change,
      annotations: { a: '0123', b: 'true', c: '1e3', d: 'null', e: '' },
    });
    expect(deployment(edited).annotations).toMatchObject({
      a: '0123',
      b: 'true',
      c: '1e3',
      d: 'null',
      e: '',
    });
  });

  it.each([
    ['no such container', FULL.replace('name: inference', 'name: server'), 'TL_MANIFEST_CONTAINER_MISSING'],
    ['no workload', 'kind: Service\n', 'TL_MANIFEST_CONTAINER_MISSING'],
    ['an empty file', '', 'TL_MANIFEST_CONTAINER_MISSING'],
    ['two workloads with it', `${FULL}---\n${FULL}`, 'TL_MANIFEST_AMBIGUOUS'],
    ['broken YAML', 'kind: [Deployment\n', 'TL_MANIFEST_INVALID'],
    ['a Helm template', 'kind: Deployment\nspec:\n  {{- if .Values.x }}\n  a: 1\n', 'TL_MANIFEST_INVALID'],
    ['nesting without end', `kind: ${'['.repeat(50_000)}`, 'TL_MANIFEST_INVALID'],
    [
      'MODEL_ID from elsewhere',
      FULL.replace('value: none}', 'valueFrom: {secretKeyRef: {name: a, key: b}}}'),
      'TL_MANIFEST_INVALID',
    ],
  ])('refuses %s', (_, text, code) => {
    expect(() => editManifest(text, 'k8s/deployment.yaml', change)).toThrowError(ThroughlineError);
    try {
      editManifest(text, 'k8s/deployment.yaml', change);
    } catch (error) {
      expect((error as ThroughlineError).code).toBe(code);
    }
  });
});
