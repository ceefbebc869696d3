// Checks of deployments, as a plan has them: what is taken, what is refused, and that a release's own values stay values.
import { readFileSync, rmSync } from 'node:fs';
import { parser } from '@prometheus-io/lezer-promql';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { ThroughlineError } from '../../src/domain/errors.js';
import {
  directoryFiles,
  loadPlan,
  parseJobManifest,
  parsePlan,
  planJsonSchema,
} from '../../src/plan/index.js';
import {
  asHeader,
  asJsonText,
  asPattern,
  asUrlPart,
  fill,
  fillJson,
  type PlaceholderValues,
} from '../../src/plan/placeholders.js';
import { fillQuery } from '../../src/plan/promql.js';
import { NO_CONFIGURATION, planViolations } from '../../src/policy/index.js';
import { modelFiles, temporaryDirectory, writeFiles } from '../support/world.js';

const FILES = modelFiles({ gitops: 'https://git.example/ml/gitops.git', runs: '/tmp/runs' });
const ARGOCD = '    argocd: { application: digits }\n';
const planWith = (verify: unknown) =>
  `${FILES['throughline.yaml']}${ARGOCD}    verify: ${JSON.stringify(verify)}\n`;
const checksOf = (verify: unknown) =>
  parsePlan(planWith(verify), 'throughline.yaml').plan.deploy[0]?.verify ?? [];

const HTTP = { url: 'https://digits.example/predict' };
const PROMETHEUS = { url: 'http://prometheus:9090', query: 'up', atLeast: 1 };

function refusal(verify: unknown): ThroughlineError['problem'] {
  try {
    parsePlan(planWith(verify), 'throughline.yaml');
  } catch (error) {
    if (error instanceof ThroughlineError) return error.problem;
    throw error;
  }
  throw new Error('the plan was taken');
}

const values = (id: string): PlaceholderValues => ({
  'release.id': 'rel-a',
  'model.name': 'digits',
  'model.id': id,
  'image.digest': 'sha256:1',
  commit: 'c',
  environment: 'production',
});

describe('checks in a plan', () => {
  it('are taken with every default, by the JSON Schema too', () => {
    const verify = [
      { name: 'probe', http: HTTP },
      {
        name: 'predicts',
        http: {
          ...HTTP,
          headers: { 'X-Model': '{{ model.id }}' },
          body: { image_data: 'aGk=' },
          expect: {
            status: [200, 201],
            body: { json: { model_id: '{{ model.id }}', 'a[0].b': { atLeast: 1 } } },
          },
        },
      },
      { name: 'job', job: { manifest: 'checks/job.yaml' } },
      { name: 'errors', prometheus: { ...PROMETHEUS, for: '10m' } },
      { name: 'health', health: { for: '10m' } },
    ];
    const [probe, predicts, job, errors, health] = checksOf(verify);
    expect(probe?.http).toMatchObject({ method: 'GET', interval: 5, timeout: 300, successes: 1 });
    expect(probe?.http?.expect.status).toEqual([200]);
    expect(predicts?.http?.method).toBe('POST');
    expect(job?.job?.timeout).toBe(900);
    expect(errors?.prometheus).toMatchObject({ for: 600, every: 15, timeout: 900, noData: 'wait' });
    expect(health?.health).toEqual({ for: 600, tolerance: 30, timeout: 630 });
    const validate = new Ajv2020({ strict: false }).compile(planJsonSchema());
    expect(validate(parse(planWith(verify))), JSON.stringify(validate.errors)).toBe(true);
    expect(validate(parse(planWith([{ name: 'none' }])))).toBe(false);
    expect(parsePlan(FILES['throughline.yaml'] ?? '', 'x').plan.deploy[0]).not.toHaveProperty('verify');
  });

  it.each([
    ['no kind', { name: 'a' }, /exactly one of health, http, job and prometheus/],
    ['two kinds', { name: 'a', http: HTTP, prometheus: PROMETHEUS }, /exactly one/],
    ['an unknown key', { name: 'a', http: { ...HTTP, retries: 3 } }, /only keys of the schema/],
    ['another protocol', { name: 'a', http: { url: 'file:///etc/passwd' } }, /https:/],
    ['a password', { name: 'a', http: { url: 'https://me:secret@a.example/' } }, /without user/],
    ['a host that varies', { name: 'a', http: { url: 'https://{{ model.id }}.example/' } }, /same host/],
    ['a token in the query', { name: 'a', http: { url: 'https://a.example/?api_key=1' } }, /no secret/],
    ['an unknown placeholder', { name: 'a', http: { url: 'https://a.example/{{ secret }}' } }, /model\.id/],
    ['an open placeholder', { name: 'a', http: { ...HTTP, body: 'x {{ model.id' } }, /placeholders of/],
    ['one in a body', { name: 'a', http: { ...HTTP, body: { a: ['{{ x }}'] } } }, /placeholders of/],
    ['a secret header', { name: 'a', http: { ...HTTP, headers: { Authorization: 'x' } } }, /no secret/],
    ['a header of the worker', { name: 'a', http: { ...HTTP, headers: { host: 'x' } } }, /another header/],
    ['a header of two lines', { name: 'a', http: { ...HTTP, headers: { 'x-a': 'b\r\nc: d' } } }, /one line/],
    ['a GET with a body', { name: 'a', http: { ...HTTP, method: 'GET', body: 'x' } }, /another method/],
    [
      'a bad pattern',
      { name: 'a', http: { ...HTTP, expect: { body: { matches: '(' } } } },
      /regular expression/,
    ],
    [
      'a long pattern',
      { name: 'a', http: { ...HTTP, expect: { body: { matches: 'a'.repeat(501) } } } },
      /500/,
    ],
    [
      'an empty expectation',
      { name: 'a', http: { ...HTTP, expect: { body: {} } } },
      /contains, matches or json/,
    ],
    ['a busy loop', { name: 'a', http: { ...HTTP, interval: '1ms' } }, /100ms/],
    ['an endless wait', { name: 'a', http: { ...HTTP, timeout: '8d' } }, /7d/],
    ['no threshold', { name: 'a', prometheus: { url: PROMETHEUS.url, query: 'up' } }, /atLeast, atMost/],
    ['two thresholds', { name: 'a', prometheus: { ...PROMETHEUS, equals: 1 } }, /equals alone/],
    [
      'a window that does not fit',
      { name: 'a', prometheus: { ...PROMETHEUS, for: '5m', timeout: '5m' } },
      /after/,
    ],
    [
      'a placeholder outside a string',
      { name: 'a', prometheus: { ...PROMETHEUS, query: 'a{b={{ model.id }}}' } },
      /within strings/,
    ],
    [
      'a placeholder in a raw string',
      { name: 'a', prometheus: { ...PROMETHEUS, query: 'a{b=`{{ model.id }}`}' } },
      /escaped/,
    ],
    [
      'a query in the address',
      { name: 'a', prometheus: { ...PROMETHEUS, url: 'http://p/?x=1' } },
      /without query/,
    ],
    ['a window of no length', { name: 'a', health: { for: '0s' } }, /between 1ms/],
    ['a window without an end', { name: 'a', health: { for: '8d' } }, /7d/],
    ['a manifest that leaves', { name: 'a', job: { manifest: '../job.yaml' } }, /below the plan/],
  ])('with %s are refused', (_, check, expected) => {
    const problem = refusal([check]);
    const all = [problem, ...(problem.also ?? [])].map(({ expected: text }) => text).join('; ');
    expect(all).toMatch(expected);
    expect(problem.where?.line).toBe(21);
  });

  it('of the documentation are taken', () => {
    const page = readFileSync(new URL('../../docs/plan.md', import.meta.url), 'utf8');
    const [, example = ''] = /## Checks[\s\S]*?```yaml\n([\s\S]*?)```/.exec(page) ?? [];
    const { verify } = parse(example);
    expect(checksOf(verify).map(({ name }) => name)).toEqual([
      'stays-healthy',
      'predicts',
      'evaluates',
      'few-errors',
    ]);
  });

  it('have names of their own, and are ten at most', () => {
    expect(
      refusal([
        { name: 'a', http: HTTP },
        { name: 'a', http: HTTP },
      ]).expected,
    ).toMatch(/each name once/);
    const eleven = Array.from({ length: 11 }, (_, index) => ({ name: `a${index}`, http: HTTP }));
    expect(refusal(eleven).code).toBe('TL_PLAN_INVALID');
  });
});

const JOB = parseJobManifest(FILES['training/job.yaml'] ?? '', 'job.yaml');

describe('what a check may reach', () => {
  const { plan } = parsePlan(
    planWith([
      { name: 'a', http: { url: 'https://digits.example/{{ model.id }}/../admin?x=1' } },
      { name: 'b', prometheus: PROMETHEUS },
    ]),
    'x',
  );
  const refused = (verifyUrls?: string[]) =>
    planViolations({ ...NO_CONFIGURATION.allow, verifyUrls }, plan, JOB, undefined).map(({ path }) =>
      path.join('.'),
    );
  it('is what the operator lists, as what it leads to, and everything without a list', () => {
    expect(refused()).toEqual([]);
    expect(refused(['https://digits.example/**', 'http://prometheus:9090'])).toEqual([]);
    expect(refused(['https://digits.example/x/**'])).toEqual([
      'deploy.0.verify.0.http.url',
      'deploy.0.verify.1.prometheus.url',
    ]);
  });

  it('goes for the Jobs of checks as for those that train, with the place in their manifest', async () => {
    const directory = temporaryDirectory('verify-plan');
    onTestFinished(() => rmSync(directory, { recursive: true }));
    const job = (pod: string) =>
      `apiVersion: batch/v1\nkind: Job\nspec:\n  template:\n    spec:\n${pod}      restartPolicy: Never\n      containers: [{ name: check, command: [sh, check.sh] }]\n`;
    const load = async (manifest: string) => {
      writeFiles(directory, {
        ...FILES,
        'throughline.yaml': planWith([{ name: 'job', job: { manifest: 'checks/job.yaml' } }]),
        'checks/job.yaml': manifest,
      });
      return loadPlan(directoryFiles(directory), 'throughline.yaml', (given, one) =>
        planViolations(NO_CONFIGURATION.allow, given, one, undefined),
      );
    };
    const loaded = await load(job(''));
    expect(loaded.verifyJobs?.map(({ manifest, path }) => [manifest, path])).toEqual([
      ['checks/job.yaml', 'checks/job.yaml'],
    ]);
    await expect(load(job('      hostNetwork: true\n'))).rejects.toMatchObject({
      problem: { code: 'TL_NOT_ALLOWED', where: { file: 'checks/job.yaml', line: 6 } },
    });
    await expect(load('kind: Pod\n')).rejects.toMatchObject({
      problem: { code: 'TL_JOB_INVALID', where: { file: 'checks/job.yaml' } },
    });
  });
});

const HOSTILE = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.constantFrom(
    '"} or vector(1) #',
    "' or 1",
    '\\',
    '\n',
    '.*',
    '{{ commit }}',
    '../../admin?x=1#y',
    '\ud800',
    '$(x)',
    '`',
    '\r\nhost: evil',
  ),
);

describe('the release’s values, whatever they are', () => {
  it('stay one value of a query, and match themselves alone', () => {
    fc.assert(
      fc.property(HOSTILE, (id) => {
        const query = fillQuery(`a{x="{{ model.id }}", y=~'{{ model.id }}'} # "{{ model.id }}`, values(id));
        let errors = 0;
        const strings: string[] = [];
        parser.parse(query).iterate({
          enter: ({ type, from, to }) => {
            if (type.isError) errors += 1;
            if (type.name === 'StringLiteral') strings.push(query.slice(from, to));
          },
        });
        expect(errors, query).toBe(0);
        expect(strings).toHaveLength(2);
        const read = strings.map((text) =>
          text
            .slice(1, -1)
            .replaceAll(/\\U([0-9a-f]{8})|\\u([0-9a-f]{4})/g, (_, long, short) =>
              String.fromCodePoint(Number.parseInt(long ?? short, 16)),
            ),
        );
        const whole = id.replaceAll(/\p{Cs}/gu, '\ufffd');
        expect(read[0]).toBe(whole);
        expect(new RegExp(`^(?:${read[1]?.replaceAll('-', '\\x2d')})$`, 's').test(whole)).toBe(true);
      }),
    );
  });

  it('stay one segment of a URL, one line of a header, one string of JSON, one literal of a pattern', () => {
    fc.assert(
      fc.property(
        HOSTILE.filter((id) => id !== '' && id !== '.' && id !== '..'),
        (id) => {
          const whole = id.replaceAll(/\p{Cs}/gu, '\ufffd');
          const url = new URL(fill('https://a.example/m/{{ model.id }}/x', values(id), asUrlPart));
          expect(url.pathname.split('/')).toHaveLength(4);
          expect([url.host, url.search, url.hash]).toEqual(['a.example', '', '']);
          expect(fill('{{model.id}}', values(id), asHeader)).toMatch(/^[\x21-\x7e]*$/);
          expect(JSON.parse(fill('{"a":"{{ model.id }}"}', values(id), asJsonText))).toEqual({ a: whole });
          expect(fillJson({ '{{ commit }}': ['{{ model.id }}', 1, null] }, values(id))).toEqual({
            '{{ commit }}': [whole, 1, null],
          });
          const pattern = new RegExp(
            `^${fill('[{{ model.id }}]+|{{ model.id }}', values(id), asPattern)}$`,
            'u',
          );
          expect(pattern.test(whole)).toBe(true);
        },
      ),
    );
  });
});
