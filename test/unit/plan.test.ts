// Plans are strict: what is wrong is refused with its place and what was expected.
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { formatProblem, ThroughlineError } from '../../src/domain/errors.js';
import {
  directoryFiles,
  formatDuration,
  loadPlan,
  parseDuration,
  parsePlan,
  parseValuesPath,
  planJsonSchema,
} from '../../src/plan/index.js';
import { modelFiles, temporaryDirectory, writeFiles } from '../support/world.js';

const FILES = modelFiles({ gitops: 'https://git.example/ml/gitops.git', runs: '/tmp/runs' });
const PLAN = FILES['throughline.yaml'] ?? '';

function refusal(text: string): ThroughlineError {
  try {
    parsePlan(text, 'throughline.yaml');
  } catch (error) {
    if (error instanceof ThroughlineError) return error;
    throw error;
  }
  throw new Error('the plan was taken');
}

/** Gone with the test. */
function temporary(name: string): string {
  const directory = temporaryDirectory(name);
  onTestFinished(() => rmSync(directory, { recursive: true }));
  return directory;
}

async function load(
  files: Record<string, string>,
  change: (directory: string) => void = () => {},
): Promise<string> {
  const directory = temporary('plan');
  writeFiles(directory, files);
  change(directory);
  return loadPlan(directoryFiles(directory), 'throughline.yaml').then(
    () => 'taken',
    (error) => (error instanceof ThroughlineError ? error.code : String(error)),
  );
}

describe('parsePlan', () => {
  it('fills in every default', () => {
    const { plan } = parsePlan(PLAN, 'throughline.yaml');
    expect(plan.build.dockerfile).toBe('Dockerfile');
    expect(plan.deploy[0]).toMatchObject({ branch: 'main', approval: 'none' });
    expect(plan.train.timeout).toBe(300);
    expect(plan.train.parameters.ACCURACY).toBe('0.97');
  });

  it.each([
    [
      'an unknown key',
      PLAN.replace('  timeout: 5m', '  timeout: 5m\n  epochs: 3'),
      8,
      /Unknown key "epochs"/,
    ],
    ['a bad duration', PLAN.replace('5m', '5 minutes'), 7, /train.timeout/],
    ['a duration of nothing', PLAN.replace('5m', '0s'), 7, /train.timeout/],
    ['a missing key', PLAN.replace(/build:\n.*\n.*tiny\n/, ''), 1, /build is missing/],
    ['a path that leaves', PLAN.replace('training/job.yaml', '../job.yaml'), 5, /train.job/],
    [
      'a path that leaves in the middle',
      PLAN.replace('training/job.yaml', 'a/../../job.yaml'),
      5,
      /train.job/,
    ],
    ['an absolute path', PLAN.replace('training/job.yaml', '/etc/passwd'), 5, /train.job/],
    ['a tag on an image', PLAN.replace('ml/tiny', 'ml/tiny:latest'), 13, /build.image/],
    ['a password in a URL', PLAN.replace('https://', 'https://me:secret@'), 16, /repository/],
    [
      'a helper as repository',
      PLAN.replace('https://git.example/ml/gitops.git', '"ext::sh -c true"'),
      16,
      /repository/,
    ],
    ['a reserved parameter', PLAN.replace('"TICKS"', '"TRACEPARENT"'), 7, /train.parameters/],
    ['a version that is a number', PLAN.replace('version: v1', 'version: 1.0'), 6, /train.dataset.version/],
    ['a rule without a bound', PLAN.replace(', atLeast: 0.95', ''), 11, /evaluate.accept.0/],
    [
      'an unknown approval',
      PLAN.replace('container: inference', 'container: inference\n    approval: maybe'),
      19,
      /approval/,
    ],
  ])('refuses %s, with its line', (_, text, line, message) => {
    const { problem } = refusal(text);
    expect(problem.code).toBe('TL_PLAN_INVALID');
    expect(problem.message).toMatch(message);
    expect(problem.where).toMatchObject({
      file: 'throughline.yaml',
      line: expect.any(Number),
      column: expect.any(Number),
    });
    expect(Math.abs((problem.where?.line ?? 0) - line)).toBeLessThanOrEqual(2);
    expect(problem.expected).toBeTruthy();
  });

  it('has a deployment pushed, or proposed with what the plan says of that', () => {
    const [pushed] = parsePlan(PLAN, 'throughline.yaml').plan.deploy;
    expect(pushed).toMatchObject({ mode: 'push', pullRequest: undefined });
    const by = (text: string) =>
      parsePlan(`${PLAN}    mode: pullRequest\n${text}`, 'throughline.yaml').plan.deploy[0];
    const usual = { autoMerge: false, labels: [], timeout: 3 * 86_400 };
    expect(by('')?.pullRequest).toEqual(usual);
    expect(by('    pullRequest: {}\n')?.pullRequest).toEqual(usual);
    expect(
      by('    pullRequest: { autoMerge: true, mergeMethod: squash, labels: [ml], timeout: 2h }\n')
        ?.pullRequest,
    ).toEqual({ autoMerge: true, mergeMethod: 'squash', labels: ['ml'], timeout: 7200 });
  });

  it.each([
    ['pull requests where it is pushed', 'pullRequest: { autoMerge: true }', 'mode: pullRequest'],
    [
      'a method that nobody would ask for',
      'mode: pullRequest\n    pullRequest: { mergeMethod: squash }',
      'autoMerge',
    ],
    [
      'a branch of those that pull requests come from',
      'mode: pullRequest\n    branch: throughline/x',
      'another branch',
    ],
    ['a branch in the way of those', 'mode: pullRequest\n    branch: throughline', 'another branch'],
  ])('refuses %s', (_, entry, expected) => {
    expect(formatProblem(refusal(`${PLAN}    ${entry}\n`).problem)).toContain(expected);
  });

  it('never repeats a secret that a URL holds', () => {
    const { problem } = refusal(PLAN.replace('https://', 'https://me:hunter2@'));
    expect(JSON.stringify({ ...problem, found: undefined })).not.toContain('hunter2');
  });

  it('names every mistake at once', () => {
    const { problem } = refusal(PLAN.replace('5m', 'soon').replace('kind: ReleasePlan', 'kind: Plan'));
    expect(problem.also).toHaveLength(1);
    expect(formatProblem(problem).match(/TL_PLAN_INVALID/g)).toHaveLength(2);
  });

  it.each([
    [
      'a bomb of aliases',
      `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'
        .split('')
        .map((name, index) => `${name}: &${name} [${Array(9).fill(`*${'abcdefg'[index]}`)}]`)
        .join('\n')}\n`,
    ],
    ['nesting without end', '['.repeat(100_000)],
    ['no YAML', 'a: b: c'],
    ['a duplicate key', `${PLAN}kind: ReleasePlan\n`],
    ['two documents', `${PLAN}---\n${PLAN}`],
    ['nothing', ''],
    ['a custom tag', PLAN.replace('kind: ReleasePlan', 'kind: !!js/function "x"')],
  ])('refuses %s', (_, text) => {
    expect(refusal(text).code).toBe('TL_PLAN_INVALID');
  });
});

describe('loadPlan', () => {
  it('takes a plan whose files are there', async () => {
    expect(await load(FILES)).toBe('taken');
  });

  it('refuses a plan of 10 MB before reading it', async () => {
    expect(await load({ ...FILES, 'throughline.yaml': `${PLAN}#${'x'.repeat(10 * 1024 * 1024)}` })).toBe(
      'TL_PLAN_TOO_LARGE',
    );
  });

  it('refuses symbolic links, also to places inside, and as a directory on the way', async () => {
    const { 'training/job.yaml': job = '', ...others } = FILES;
    expect(
      await load(others, (directory) => {
        writeFileSync(join(directory, 'real.yaml'), job);
        symlinkSync('../real.yaml', join(directory, 'training', 'job.yaml'));
      }),
    ).toBe('TL_PATH_UNSAFE');
    expect(
      await load({ 'throughline.yaml': PLAN, 'inference/Dockerfile': 'FROM scratch\n' }, (directory) => {
        const outside = temporary('outside');
        mkdirSync(join(outside, 'training'));
        writeFileSync(join(outside, 'training', 'job.yaml'), job);
        symlinkSync(join(outside, 'training'), join(directory, 'training'));
      }),
    ).toBe('TL_PATH_UNSAFE');
  });

  it.each([
    ['no manifest', { 'training/job.yaml': undefined }, 'TL_FILE_NOT_FOUND'],
    ['no Dockerfile', { 'inference/Dockerfile': undefined, 'inference/other': '' }, 'TL_FILE_NOT_FOUND'],
    ['a manifest that is no Job', { 'training/job.yaml': 'apiVersion: v1\nkind: Pod\n' }, 'TL_JOB_INVALID'],
    [
      'a Job without containers',
      {
        'training/job.yaml': 'apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: {containers: []}}}\n',
      },
      'TL_JOB_INVALID',
    ],
    [
      'two Jobs',
      { 'training/job.yaml': `${FILES['training/job.yaml']}---\n${FILES['training/job.yaml']}` },
      'TL_JOB_INVALID',
    ],
    [
      'an escalation after the deadline',
      {
        'throughline.yaml': PLAN.replace(
          'container: inference',
          'container: inference\n    approval: required\n    approvalTimeout: 1h\n    escalation: { after: 2h, note: call somebody }',
        ),
      },
      'TL_PLAN_INVALID',
    ],
    ['no plan', { 'throughline.yaml': undefined }, 'TL_PLAN_NOT_FOUND'],
  ])('refuses a repository with %s', async (_, change, code) => {
    const files = Object.fromEntries(
      Object.entries({ ...FILES, ...change }).filter(
        (entry): entry is [string, string] => entry[1] !== undefined,
      ),
    );
    expect(await load(files)).toBe(code);
  });
});

describe('durations', () => {
  it('are read and written as people do', () => {
    expect(parseDuration('1h30m')).toBe(5400);
    expect(parseDuration('250ms')).toBe(0.25);
    for (const text of ['', '1', 'h', '1h ', '-1h', '1 h', 'PT1H'])
      expect(parseDuration(text)).toBeUndefined();
    expect([0.25, 59.6, 90, 3600, 21_600, 5430].map(formatDuration)).toEqual([
      '0.3s',
      '1m',
      '1m 30s',
      '1h',
      '6h',
      '1h 31m',
    ]);
  });
});

describe('where a deploy entry leads', () => {
  const entry = (lines: string, manifest = 'k8s/deployment.yaml') =>
    PLAN.replace('manifest: k8s/deployment.yaml', `manifest: ${manifest}`).replace(
      / {4}container: inference\n?/,
      lines.replace(/^(?=.)/gm, '    '),
    );
  const taken = (text: string) => parsePlan(text, 'throughline.yaml').plan.deploy[0];
  const KUSTOMIZE = 'kustomize: { image: digits, workload: Deployment/digits, container: inference }\n';
  const HELM =
    'helm: { image: app.image, annotations: podAnnotations, env: env, workload: StatefulSet/digits, container: inference }\n';
  const OVERLAY = 'overlays/production/kustomization.yaml';

  it.each([
    ['a manifest', entry('container: inference\n')],
    ['a kustomization', entry(KUSTOMIZE, OVERLAY)],
    ['values', entry(HELM, 'values.yaml')],
  ])('%s is taken, and its container known', (_, text) => {
    expect(taken(text)?.container).toBe('inference');
    const validate = new Ajv2020({ strict: false }).compile(planJsonSchema());
    expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
  });

  it.each([
    ['none of them', entry(''), 'deploy.0.container is missing'],
    ['two of them', entry(KUSTOMIZE + HELM, OVERLAY), 'deploy.0.helm is not valid'],
    [
      'a container twice',
      entry(`container: inference\n${KUSTOMIZE}`, OVERLAY),
      'deploy.0.container is not valid',
    ],
  ])('%s is refused, by the JSON Schema too', (_, text, message) => {
    expect(refusal(text).problem.message).toBe(message);
    expect(new Ajv2020({ strict: false }).compile(planJsonSchema())(parse(text))).toBe(false);
  });

  it.each([
    [
      'a kustomization that Kustomize would not find',
      entry(KUSTOMIZE, 'k8s/production.yaml'),
      'deploy.0.manifest',
    ],
    [
      'a kind that serves nothing',
      entry(KUSTOMIZE.replace('Deployment/', 'CronJob/'), OVERLAY),
      'deploy.0.kustomize.workload',
    ],
    [
      'an image with a tag',
      entry(KUSTOMIZE.replace('image: digits', 'image: digits:v1'), OVERLAY),
      'deploy.0.kustomize.image',
    ],
    [
      'an unknown key',
      entry(KUSTOMIZE.replace('image:', 'images: [], image:'), OVERLAY),
      'Unknown key "images" in deploy.0.kustomize',
    ],
    [
      'a model from two places',
      entry(HELM.replace('env: env', 'env: env, modelId: id')),
      'deploy.0.helm.modelId',
    ],
    ['a model from nowhere', entry(HELM.replace('env: env, ', '')), 'deploy.0.helm.modelId'],
    ['a path with a hole', entry(HELM.replace('app.image', 'app..image')), 'deploy.0.helm.image'],
    [
      'an image that nothing pins',
      entry(HELM.replace('image: app.image', 'image: { repository: image.repository }')),
      'deploy.0.helm.image.digest',
    ],
  ])('%s is refused, with its place', (_, text, message) => {
    const { problem } = refusal(text);
    expect(problem.message).toContain(message);
    expect(problem.where?.line).toBeGreaterThan(10);
    expect(problem.expected).toMatch(/[a-z]{3}/);
    expect(problem.expected).not.toBe('Invalid input');
  });

  it.each([
    ['image.tag', ['image', 'tag']],
    ['a[0].b[12]', ['a', 0, 'b', 12]],
    ['services.digits\\.v1.x-y', ['services', 'digits.v1', 'x-y']],
    ['podAnnotations.example\\.com/a\\[1\\]', ['podAnnotations', 'example.com/a[1]']],
  ])('a path of values is read as helm --set does: %s', (path, keys) => {
    expect(parseValuesPath(path)).toEqual(keys);
  });
});
