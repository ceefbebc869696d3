// What a release changes in manifests of any content and any layout: other fields, keys and values are drawn at random.
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Document, parseAllDocuments, type ToStringOptions, visit } from 'yaml';
import { editTarget } from '../../src/activities/gitops/edit.js';
import { desired } from '../support/gitops-corpus.js';
import { expectOnlyOurs, reader } from '../support/gitops-judge.js';

const text = fc.oneof(
  fc.string({ unit: 'grapheme-ascii', maxLength: 20 }),
  fc.string({ unit: 'grapheme', maxLength: 8 }),
  fc.constantFrom(
    'yes',
    '0123',
    '1e3',
    '~',
    '',
    ' x ',
    '# no comment',
    'a: b',
    '2024-01-01',
    '- x',
    '*x',
    '&x',
    '{{ .Values.x }}',
  ),
);
const key = fc
  .oneof(
    fc.stringMatching(/^[a-z][a-z0-9./-]{0,20}$/),
    fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 10 }),
  )
  .filter(
    (name) => !['__proto__', '<<', 'name', 'image', 'env', 'kind', 'path', 'metadata', 'tag'].includes(name),
  );
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    tie('list'),
    tie('map'),
  ),
  list: fc.array(tie('tree'), { maxLength: 3 }),
  map: fc.dictionary(key, tie('tree'), { maxKeys: 4, noNullPrototype: true }),
}));
const map = fc.dictionary(key, tree, { maxKeys: 4, noNullPrototype: true });
const annotations = fc.option(fc.dictionary(key, text, { maxKeys: 4, noNullPrototype: true }));
const variable = fc.record({ name: fc.stringMatching(/^[A-LN-Z][A-Z_]{0,8}$/), value: text });
const env = fc.option(fc.tuple(fc.array(variable, { maxLength: 3 }), fc.nat(3)));

const pods = fc.record({
  kind: fc.constantFrom('Deployment', 'StatefulSet', 'DaemonSet', 'Rollout', 'InferenceService'),
  annotations,
  image: fc.boolean(),
  env,
  others: fc.array(map, { maxLength: 3 }),
  place: fc.nat(3),
  sidecar: fc.option(map),
  container: map,
  spec: map,
});

const layout = fc.record({
  indent: fc.constantFrom(2, 3, 4),
  indentSeq: fc.boolean(),
  lineWidth: fc.constantFrom(0, 120),
  singleQuote: fc.constantFrom(true, false, null),
  defaultKeyType: fc.constantFrom('PLAIN', 'QUOTE_DOUBLE', 'QUOTE_SINGLE'),
  defaultStringType: fc.constantFrom('PLAIN', 'QUOTE_DOUBLE', 'QUOTE_SINGLE', 'BLOCK_LITERAL'),
  flowCollectionPadding: fc.boolean(),
  nullStr: fc.constantFrom('null', '~', ''),
} satisfies Partial<Record<keyof ToStringOptions, fc.Arbitrary<unknown>>>);

/** Comments, collections in flow style, and how the file was saved. */
const habits = fc.record({
  comments: fc.array(fc.nat(), { maxLength: 6 }),
  flows: fc.array(fc.nat(), { maxLength: 3 }),
  crlf: fc.boolean(),
  final: fc.boolean(),
  bom: fc.boolean(),
});

function workloadOf(drawn: typeof pods extends fc.Arbitrary<infer T> ? T : never): unknown {
  const model = { name: 'MODEL_ID', value: 'digits-old' };
  const variables = drawn.env && [
    ...drawn.env[0].slice(0, drawn.env[1]),
    model,
    ...drawn.env[0].slice(drawn.env[1]),
  ];
  const container = {
    name: 'inference',
    ...drawn.container,
    ...(drawn.image ? { image: 'registry.example/ml/digits-inference:dev' } : {}),
    ...(variables ? { env: variables } : {}),
  };
  const marked = drawn.annotations && { ...drawn.annotations, 'orchestration.trace_id': 'of digits-old' };
  const containers = [...(drawn.sidecar ? [{ name: 'sidecar', ...drawn.sidecar }] : []), container];
  const metadata = marked ? { metadata: { annotations: marked } } : {};
  const spec =
    drawn.kind === 'InferenceService'
      ? { predictor: { ...(marked ? { annotations: marked } : {}), containers } }
      : { ...drawn.spec, template: { ...metadata, spec: { ...drawn.spec, containers } } };
  return { kind: drawn.kind, metadata: { name: 'digits' }, spec };
}

function written(
  value: unknown,
  options: ToStringOptions,
  { comments, flows }: { comments: number[]; flows: number[] },
): string {
  const document = new Document(value, { aliasDuplicateObjects: false });
  let seen = 0;
  const total = 40;
  visit(document, {
    Node(_, node) {
      seen += 1;
      if (comments.some((at) => at % total === seen)) node.commentBefore = ` a comment of ${seen}`;
      if (
        comments.some((at) => at % total === seen + 1) &&
        'value' in node &&
        !/digits/.test(String(node.value))
      )
        node.comment = ' at the end';
    },
    Collection(_, node, path) {
      seen += 1;
      // Ours lie on lines of their own, so that what else is on a line needs no judging.
      const small = !JSON.stringify(node).match(/digits|inference|orchestration/);
      if (small && path.length > 0 && flows.some((at) => at % total === seen)) node.flow = true;
    },
  });
  return document.toString(options);
}

it('changes only what is of a release, whatever else a manifest says, and however it is written', async () => {
  await fc.assert(
    fc.asyncProperty(pods, layout, habits, async (drawn, options, habit) => {
      const documents = drawn.others.map((other) => written(other, options, habit));
      documents.splice(drawn.place, 0, written(workloadOf(drawn), options, habit));
      let all = documents.join('---\n');
      if (!habit.final) all = all.replace(/\n+$/, '');
      if (habit.crlf) all = all.replaceAll('\n', '\r\n');
      if (habit.bom) all = `\uFEFF${all}`;
      const broken = parseAllDocuments(all).some(({ errors }) => errors.length > 0);
      fc.pre(!broken && !/\r(?!\n)|\t/.test(all));
      await expectOnlyOurs({ manifest: 'm.yaml', container: 'inference' }, { 'm.yaml': all });
    }),
    { numRuns: 100, endOnFailure: true },
  );
}, 120_000);

it('writes any text as a text that every reader takes for that', async () => {
  const manifest =
    'kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n        - name: inference\n';
  const target = { manifest: 'm.yaml', container: 'inference' };
  await fc.assert(
    fc.asyncProperty(text, text, async (value, other) => {
      const state = { ...desired('first', '1'), annotations: { a: value }, env: { MODEL_ID: other } };
      const [edit] = await editTarget(target, state, reader({ 'm.yaml': manifest }));
      for (const version of ['1.1', '1.2'] as const) {
        const { metadata, spec } =
          parseAllDocuments(edit?.text ?? '', { version })[0]?.toJS().spec.template ?? {};
        expect(metadata.annotations.a).toBe(value);
        expect(spec.containers[0].env).toEqual([{ name: 'MODEL_ID', value: other }]);
      }
    }),
    { numRuns: 300 },
  );
});
