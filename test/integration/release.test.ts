// Releases on real Temporal, with real git and a real builder: how they end, and that nothing is left half-done.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { identify, isAlive } from '../../src/processes/index.js';
import { git, modelFiles, repository, TRAIN, World } from '../support/world.js';

let world: World;

beforeAll(async () => {
  world = await World.start('release');
  await world.worker();
});
afterAll(() => world?.stop());

const runsOf = (record: PresentedRelease) =>
  world.trainingRuns().filter(({ release }) => release === record.release);
const commitsOf = (gitops: string) => Number(git(gitops, 'rev-list', '--count', 'main')) - 1;
const imageOf = (record: PresentedRelease) =>
  join(world.data, 'images/registry.example/ml/tiny', record.release);

/** Nothing was built and nothing was committed. */
function expectNothingDone(record: PresentedRelease, gitops: string): void {
  expect(record.image).toBeUndefined();
  expect(existsSync(imageOf(record))).toBe(false);
  expect(commitsOf(gitops)).toBe(0);
}

async function failed(
  url: string,
  code: string,
  body: Record<string, unknown> = {},
): Promise<PresentedRelease> {
  const record = await world.release(url, 'FAILED', body);
  const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
  expect(problem?.code, JSON.stringify(problem)).toBe(code);
  expect(problem?.message.length).toBeGreaterThan(10);
  return record;
}

describe('a release that succeeds', () => {
  it('carries one trace id from the request to the pod, and names everything it made', async () => {
    const model = world.model('whole');
    const traceId = '0af7651916cd43dd8448eb211c80319c';
    const { status, body } = await world.trigger(
      {
        repository: model.url,
        ref: 'main',
        execution: { id: 'E-whole', application: 'a' },
        stage: { refId: '1' },
      },
      { traceparent: `00-${traceId}-b7ad6b7169203331-01`, tracestate: 'vendor=1', baggage: 'team=ml' },
    );
    expect(status).toBe(202);
    expect(body.statusUrl).toBe(`${world.url}/v1/releases/${body.id}`);
    const record = await world.ended(body.id);
    expect(record.status).toBe('SUCCEEDED');
    expect(record.traceId).toBe(traceId);

    const [run] = runsOf(record);
    expect(run?.traceparent.split('-')[1]).toBe(traceId);
    const commit = record.deployments[0]?.commit ?? '';
    const message = git(model.gitops, 'log', '-1', '--format=%B', commit);
    expect(message).toMatch(`Deploy model tiny-1 with trace ${record.traceparent}`);
    for (const trailer of [
      'Release-Id',
      'Traceparent',
      'Model-Id',
      'Image-Digest',
      'Source-Commit',
      'Dataset-Version',
    ]) {
      expect(message).toMatch(new RegExp(`^${trailer}: \\S+$`, 'm'));
    }
    const manifest = git(model.gitops, 'show', `${commit}:k8s/deployment.yaml`);
    const { metadata, spec } = parse(manifest).spec.template;
    expect(metadata.annotations).toMatchObject({ team: 'ml', 'orchestration.trace_id': record.traceparent });
    expect(spec.containers[0].image).toBe(record.image?.reference);
    expect(manifest).toContain('# kept as it is');
    expect(git(model.gitops, 'show', '--stat', '--format=', commit)).toMatch(/1 file changed/);

    const index = JSON.parse(readFileSync(join(imageOf(record), 'index.json'), 'utf8'));
    expect(index.manifests[0].digest).toBe(record.image?.digest);
    const blob = (digest: string) =>
      JSON.parse(readFileSync(join(imageOf(record), 'blobs', digest.replace(':', '/')), 'utf8'));
    const image = blob(index.manifests[0].digest);
    expect(image.annotations).toMatchObject({
      'org.opencontainers.image.revision': record.commit,
      'dev.throughline.release': record.release,
    });
    expect(blob(image.config.digest).config).toMatchObject({
      Env: expect.arrayContaining(['MODEL_ID=tiny-1']),
      Labels: expect.objectContaining({ 'org.opencontainers.image.version': 'tiny-1' }),
    });

    const found = await world.releases.list({ model: 'whole', limit: 10 });
    expect(found.releases.map(({ release }) => release)).toEqual([record.release]);
    expect((await world.releases.list({ traceId, limit: 10 })).releases).toHaveLength(1);
    // The record is kept where it can be read without a worker.
    const description = await world.client.client.workflow.getHandle(record.release).describe();
    expect(description.memo?.release).toMatchObject({ status: 'SUCCEEDED', traceId });
    expect(await description.staticSummary()).toContain(model.url);
  });

  it('overrides declared parameters, and passes them to the program', async () => {
    const model = world.model('parameters', { train: `echo "$ACCURACY" > "$MODEL_OUTPUT/x"\n${TRAIN}` });
    const record = await world.release(model.url, 'SUCCEEDED', { parameters: { ACCURACY: 0.99 } });
    expect(record.training?.metrics).toEqual({ accuracy: 0.99 });
  });

  it('is started once by a hundred identical triggers at once (I1)', async () => {
    const model = world.model('hundred');
    const body = { repository: model.url, execution: { id: 'E-hundred' }, stage: { refId: '7' } };
    const answers = await Promise.all(Array.from({ length: 100 }, () => world.trigger(body)));
    expect(answers.every(({ status }) => status === 202)).toBe(true);
    expect(new Set(answers.map(({ body: { id } }) => id)).size).toBe(1);
    expect(answers.filter(({ body: { created } }) => created)).toHaveLength(1);
    const id = answers[0]?.body.id ?? '';
    const record = await world.ended(id);
    expect(record.status).toBe('SUCCEEDED');
    expect(runsOf(record)).toHaveLength(1);
    // Also long after it has ended, and a different request under the key is refused.
    expect((await world.trigger(body)).body).toMatchObject({ id, created: false });
    const reused = await world.trigger({ ...body, ref: 'other' });
    expect(reused.status).toBe(409);
    expect(reused.body.error.code).toBe('TL_IDEMPOTENCY_KEY_REUSED');
  });

  it('is retried as the Job says, and the model is that of the run that succeeded (backoffLimit)', async () => {
    const train = `if [ "$(grep -c "^$RELEASE_ID" "$RUNS")" -lt 2 ]; then echo "$RELEASE_ID $TRACEPARENT $$" >> "$RUNS"; echo broken > "$MODEL_OUTPUT/stale"; exit 3; fi\n${TRAIN}`;
    const model = world.model('retried', { backoffLimit: 3, train });
    const record = await world.release(model.url, 'SUCCEEDED');
    expect(record.training?.attempts).toBe(3);
    const traceparents = new Set(runsOf(record).map(({ traceparent }) => traceparent));
    expect(runsOf(record)).toHaveLength(3);
    expect(traceparents.size).toBe(1);
    const kept = record.training?.uri.replace('file://', '') ?? '';
    expect(readdirSync(join(kept, 'model'))).toEqual(['weights.bin']);
  });
});

describe('a release that is refused before anything runs', () => {
  const cases: [
    string,
    string,
    (name: string) => { url: string; gitops: string; body?: Record<string, unknown> },
  ][] = [
    [
      'an unknown plan key',
      'TL_PLAN_INVALID',
      (name) => world.model(name, { plan: (text) => `${text}epochs: 3\n` }),
    ],
    [
      'a ref that does not exist',
      'TL_REF_NOT_FOUND',
      (name) => ({ ...world.model(name), body: { ref: 'nowhere' } }),
    ],
    [
      'a repository that is not there',
      'TL_REPOSITORY_NOT_FOUND',
      (name) => ({ ...world.model(name), url: `file://${world.directory}/nothing` }),
    ],
    [
      'a plan that is not there',
      'TL_PLAN_NOT_FOUND',
      (name) => ({ ...world.model(name), body: { plan: 'other.yaml' } }),
    ],
    [
      'a parameter that is not declared',
      'TL_PARAMETER_UNKNOWN',
      (name) => ({ ...world.model(name), body: { parameters: { EPOCS: '3' } } }),
    ],
    [
      'a plan of 10 MB',
      'TL_PLAN_TOO_LARGE',
      (name) => world.model(name, { plan: (text) => `${text}#${'x'.repeat(10_000_000)}\n` }),
    ],
    ['a manifest that is no Job', 'TL_JOB_INVALID', (name) => world.model(name, { job: 'kind: Pod\n' })],
    [
      'a Job that this runtime cannot run',
      'TL_JOB_UNSUPPORTED',
      (name) =>
        world.model(name, {
          job:
            modelFiles({ gitops: '/x', runs: '/x' })['training/job.yaml']?.replace(
              'env: [',
              'envFrom: [{secretRef: {name: s}}]\n          env: [',
            ) ?? '',
        }),
    ],
    [
      'a program that is not installed',
      'TL_TOOL_MISSING',
      (name) =>
        world.model(name, {
          job:
            modelFiles({ gitops: '/x', runs: '/x' })['training/job.yaml']?.replace(
              '[sh,',
              '[no-such-program,',
            ) ?? '',
        }),
    ],
    [
      'a container that the manifest lacks',
      'TL_MANIFEST_CONTAINER_MISSING',
      (name) =>
        world.model(name, { plan: (text) => text.replace('container: inference', 'container: server') }),
    ],
    [
      'a GitOps manifest that is not there',
      'TL_FILE_NOT_FOUND',
      (name) => world.model(name, { plan: (text) => text.replace('k8s/deployment.yaml', 'k8s/other.yaml') }),
    ],
    [
      'a GitOps branch that is not there',
      'TL_REF_NOT_FOUND',
      (name) =>
        world.model(name, { plan: (text) => text.replace('manifest:', 'branch: release\n    manifest:') }),
    ],
  ];
  it.each(cases)('for %s', async (what, code, make) => {
    const { url, gitops, body } = make(what.replace(/\W+/g, '-'));
    const record = await failed(url, code, body);
    expect(runsOf(record)).toHaveLength(0);
    expectNothingDone(record, gitops);
  });

  it('for a symbolic link out of the repository', async () => {
    const model = world.model('symlink');
    git(model.directory, 'rm', '--quiet', 'training/job.yaml');
    git(
      model.directory,
      'update-index',
      '--add',
      '--cacheinfo',
      `120000,${linkBlob(model.directory)},training/job.yaml`,
    );
    git(model.directory, 'commit', '--quiet', '--message', 'Link');
    expectNothingDone(await failed(model.url, 'TL_PATH_UNSAFE'), model.gitops);
  });

  it('for a repository that does not answer, saying meanwhile what it waits for', async () => {
    const { body } = await world.trigger({ repository: 'http://127.0.0.1:9/model.git' });
    const waiting = await world.until(body.id, ({ progress }) => /does not answer/.test(progress), 20);
    expect(waiting.status).toBe('RUNNING');
    await fetch(`${world.url}/v1/releases/${body.id}/cancel`, { method: 'POST' });
    expect((await world.ended(body.id)).status).toBe('CANCELED');
  });
});

/** What a symbolic link is to git: a blob that holds its target. */
function linkBlob(directory: string): string {
  repository(`${directory}-link`, { target: '/etc/passwd' });
  return git(directory, 'hash-object', '-w', join(`${directory}-link`, 'target')).trim();
}

describe('a release whose training goes wrong', () => {
  const train = (script: string) => `echo "$RELEASE_ID $TRACEPARENT $$" >> "$RUNS"\n${script}\n`;
  it.each([
    [
      'fails',
      train('echo some output; echo the reason >&2; exit 7'),
      'TL_TRAINING_FAILED',
      /exit code 7|the reason/,
    ],
    ['reports nothing', train('echo hello'), 'TL_RESULT_MISSING', /hello/],
    ['reports what is no result', train('echo oops > "$RESULT_FILE"'), 'TL_RESULT_UNREADABLE', /oops/],
    [
      'leaves no model',
      train('echo \'{"model":{"id":"m"},"metrics":{"accuracy":1}}\' > "$RESULT_FILE"'),
      'TL_MODEL_MISSING',
      /MODEL_OUTPUT/,
    ],
  ])(
    'because it %s: says so, with the log’s end, and does nothing more',
    async (what, script, code, expected) => {
      const model = world.model(`training-${what.replace(/\W+/g, '-')}`, { train: script });
      const record = await failed(model.url, code);
      expect(JSON.stringify(record.outcome)).toMatch(expected);
      expect(runsOf(record)).toHaveLength(1);
      expectNothingDone(record, model.gitops);
    },
  );

  it('because it takes too long: is stopped at the Job’s deadline, with everything it started', async () => {
    const job = modelFiles({ gitops: '/x', runs: world.runs })['training/job.yaml']?.replace(
      'backoffLimit: 0',
      'backoffLimit: 3\n  activeDeadlineSeconds: 2',
    );
    const model = world.model('deadline', { train: train('sleep 300 & sleep 300'), ...(job ? { job } : {}) });
    const record = await failed(model.url, 'TL_TRAINING_TIMEOUT');
    expect(runsOf(record)).toHaveLength(1);
    await expectGone(record);
  });

  it.each([
    ['is below the gate', '0.5', 'TL_METRIC_BELOW_GATE'],
    ['is NaN', 'NaN', 'TL_METRIC_NOT_FINITE'],
  ])(
    'where a metric %s: ends REJECTED, with nothing built and nothing committed',
    async (_, accuracy, code) => {
      const model = world.model(`rejected-${accuracy}`, { parameters: { ACCURACY: accuracy } });
      const record = await world.release(model.url, 'REJECTED');
      expect(record.outcome).toMatchObject({ problem: { code } });
      expectNothingDone(record, model.gitops);
    },
  );

  it('where the gate’s metric was not reported: ends REJECTED', async () => {
    const model = world.model('unreported', {
      plan: (text) => text.replace('metric: accuracy', 'metric: f1'),
    });
    const record = await world.release(model.url, 'REJECTED');
    expect(record.outcome).toMatchObject({ problem: { code: 'TL_METRIC_MISSING' } });
    expectNothingDone(record, model.gitops);
  });
});

describe('a release whose build or commit goes wrong', () => {
  it('fails with the builder’s last words', async () => {
    const model = world.model('unbuildable', {
      files: { 'inference/Dockerfile': 'FROM scratch\nCOPY nothing /nothing\n' },
    });
    const record = await failed(model.url, 'TL_BUILD_FAILED');
    expect(JSON.stringify(record.outcome)).toMatch(/nothing/);
    expect(commitsOf(model.gitops)).toBe(0);
  });

  it('names a base image that cannot be had', async () => {
    const model = world.model('baseless', {
      files: { 'inference/Dockerfile': 'FROM registry.invalid/base:1\n' },
    });
    await failed(model.url, 'TL_BASE_IMAGE_UNAVAILABLE');
    expect(commitsOf(model.gitops)).toBe(0);
  });

  it('is SUPERSEDED where a newer release is deployed (I4)', async () => {
    const model = world.model('superseded', {
      train: `while [ -n "$WAIT_FOR" ] && [ ! -e "$WAIT_FOR" ]; do sleep 0.1; done\n${TRAIN}`,
      parameters: { WAIT_FOR: '' },
    });
    const gate = join(world.directory, 'superseded-go');
    const { body: older } = await world.trigger({ repository: model.url, parameters: { WAIT_FOR: gate } });
    await world.until(older.id, ({ stages }) => stages.at(-1)?.name === 'train');
    const newer = await world.release(model.url, 'SUCCEEDED');
    repository(gate, { x: '' });
    const record = await world.ended(older.id);
    expect(record.status).toBe('SUPERSEDED');
    expect(record.outcome).toMatchObject({
      problem: { code: 'TL_RELEASE_SUPERSEDED', found: expect.stringContaining(newer.release) },
    });
    expect(commitsOf(model.gitops)).toBe(1);
  });
});

describe('a release that is canceled (I6)', () => {
  it('in the middle of training: leaves no process, not even one that ignores SIGTERM', async () => {
    const model = world.model('cancel-train', {
      train:
        'trap "" TERM\necho "$RELEASE_ID $TRACEPARENT $$" >> "$RUNS"\n(while true; do sleep 1; done) &\nwhile true; do sleep 1; done\n',
    });
    const { body } = await world.trigger({ repository: model.url });
    await world.until(body.id, () => world.trainingRuns().some(({ release }) => release === body.id));
    const response = await fetch(`${world.url}/v1/releases/${body.id}/cancel`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    expect(response.status).toBe(202);
    const record = await world.ended(body.id);
    expect(record.status).toBe('CANCELED');
    await expectGone(record);
    expectNothingDone(record, model.gitops);
    expect((await world.client.client.workflow.getHandle(body.id).describe()).status.name).toBe('CANCELLED');
  });

  it('is answered with 2xx for a release that has ended or never was', async () => {
    for (const id of ['rel-aaaaaaaaaaaaaaaaaaaa', 'nonsense']) {
      const response = await fetch(`${world.url}/v1/releases/${id}/cancel`, { method: 'POST' });
      expect(response.status).toBe(202);
    }
  });
});

describe('the training log', () => {
  it('is read through the worker, page by page', async () => {
    const model = world.model('logs', {
      train: `i=0; while [ $i -lt 3000 ]; do echo "line $i äöü"; i=$((i+1)); done\n${TRAIN}`,
    });
    const record = await world.release(model.url, 'SUCCEEDED');
    const log = await new Promise<string>((resolve) => {
      const child = spawn(process.execPath, ['bin/throughline.js', 'logs', record.release], {
        env: world.environment(),
      });
      let text = '';
      child.stdout.on('data', (data) => (text += data));
      child.on('close', () => resolve(text));
    });
    expect(log.match(/^line \d+ äöü$/gm)).toHaveLength(3000);
    expect(log).toContain('MODEL_ID=tiny-1');
  });
});

describe('while Temporal is away', () => {
  it('a gateway answers 503 with Retry-After, and is not ready', async () => {
    const { ReleaseService } = await import('../../src/releases/service.js');
    const { createGateway } = await import('../../src/gateway/server.js');
    const { createLogger } = await import('../../src/telemetry/log.js');
    const { temporalClient } = await import('../../src/temporal/connect.js');
    const silent = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => silent.once('listening', resolve));
    const { port } = silent.address() as { port: number };
    await new Promise((resolve) => silent.close(resolve));
    const away = temporalClient({ address: `127.0.0.1:${port}` });
    const gateway = await createGateway({
      releases: new ReleaseService({ ...away, taskQueue: 'q' }),
      log: createLogger('t', 'silent'),
      publicUrl: undefined,
    });
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/releases',
      payload: { repository: 'https://git.example/x' },
    });
    expect(answer.statusCode).toBe(503);
    expect(answer.headers['retry-after']).toBe('10');
    expect(answer.json().error.code).toBe('TL_TEMPORAL_UNAVAILABLE');
    expect((await gateway.app.inject('/readyz')).statusCode).toBe(503);
    expect((await gateway.app.inject('/healthz')).statusCode).toBe(200);
    await gateway.close();
    await away.connection.close();
  });
});

/** No process of the release's training is left. */
async function expectGone(record: PresentedRelease): Promise<void> {
  for (const { pid } of runsOf(record)) {
    const identity = await identify(pid);
    expect(identity && (await isAlive(identity)), `process ${pid}`).toBeFalsy();
  }
  await sleep(50);
  const left = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`RELEASE_ID=${record.release}`);
      } catch {
        return false;
      }
    });
  expect(left).toEqual([]);
}
