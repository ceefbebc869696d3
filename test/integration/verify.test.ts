// Checks of deployments on real Temporal, with worker processes that are killed: what passes goes on, what does not goes no
// further, and nothing of a check is left running.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OtlpReceiver, startOtlpReceiver } from '../../src/dev/otlp-receiver.js';
import type { PresentedRelease } from '../../src/gateway/present.js';
import { git, MANIFEST, remote, World } from '../support/world.js';

let world: World;
let server: Server;
let collector: OtlpReceiver;
let url: string;
/** What the served model calls itself, and what Prometheus says. */
let served = 'tiny-1';
const errors = '0';
let asked: string[] = [];

beforeAll(async () => {
  world = await World.start('verify');
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://localhost');
    asked.push(`${request.method} ${request.url} ${request.headers.traceparent ?? ''}`);
    const result = [{ metric: {}, value: [1, errors] }];
    response.end(
      JSON.stringify(
        pathname === '/predict'
          ? { class: 3, confidence: 0.9, model_id: served }
          : { status: 'success', data: { resultType: 'vector', result } },
      ),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  collector = await startOtlpReceiver();
  await world.instantWorker({
    OTEL_EXPORTER_OTLP_ENDPOINT: collector.endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc',
  });
});
afterAll(async () => {
  server?.closeAllConnections();
  await new Promise((resolve) => server?.close(resolve));
  await world?.stop();
  collector?.stop();
});

const commitsOf = (gitops: string) => Number(git(gitops, 'rev-list', '--count', 'main')) - 1;

const CHECK_JOB = `apiVersion: batch/v1
kind: Job
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: 1
      containers:
        - { name: check, image: registry.example/ml/check:1, command: [sh, check.sh] }
`;

/** A model for staging, which has the checks, and then production. */
function model(name: string, checks: readonly unknown[], script = 'exit 0\n') {
  const staging = join(world.directory, `${name}-staging.git`);
  remote(staging, { 'k8s/deployment.yaml': MANIFEST });
  const entry = `  - environment: staging
    repository: file://${staging}
    manifest: k8s/deployment.yaml
    container: inference
    argocd: { application: staging } # which this runtime leaves alone, and so its health
    verify: ${JSON.stringify(checks)}
`;
  const { url: repository, gitops } = world.model(name, {
    plan: (text) => text.replace('deploy:\n', `deploy:\n${entry}`),
    files: { 'checks/job.yaml': CHECK_JOB, 'checks/check.sh': script },
  });
  return { repository, staging, production: gitops };
}

const predicts = (more: Record<string, unknown> = {}) => ({
  name: 'predicts',
  http: {
    url: `${url}/predict`,
    body: { image_data: 'aGk=' },
    expect: { body: { json: { model_id: '{{ model.id }}' } } },
    interval: '100ms',
    timeout: '5s',
    ...more,
  },
});
const few = (more: Record<string, unknown> = {}) => ({
  name: 'errors',
  prometheus: { url, query: 'errors{model="{{ model.id }}"}', atMost: 0.01, every: '100ms', ...more },
});
const job = { name: 'evaluates', job: { manifest: 'checks/job.yaml', timeout: '1m' } };

/** Of the Jobs that check: their program writes its own. */
function pidsOf(release: string): number[] {
  const jobs = join(world.data, 'jobs');
  return readdirSync(jobs)
    .filter((name) => name.includes(release.slice('rel-'.length)))
    .map((name) => join(jobs, name, 'source', 'pid'))
    .filter((path) => existsSync(path))
    .map((path) => Number(readFileSync(path, 'utf8')));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

const stageOf = (record: PresentedRelease, name: string) =>
  record.stages.find((stage) => stage.name === name);
const verifying = (record: PresentedRelease) => stageOf(record, 'verify staging')?.status === 'RUNNING';

describe('a deployment with checks', () => {
  it('goes on to the next environment when all of them have passed: a probe, a query, a Job', async () => {
    asked = [];
    const script =
      'echo "$ENVIRONMENT $MODEL_ID $RELEASE_ID $IMAGE $TRACEPARENT" > "$MODEL_OUTPUT/../../../../../checked"\n';
    const { repository, staging, production } = model(
      'passes',
      [predicts(), few({ for: '500ms' }), job, { name: 'stays-healthy', health: { for: '1h' } }],
      script,
    );
    const record = await world.release(repository, 'SUCCEEDED');
    expect([commitsOf(staging), commitsOf(production)]).toEqual([1, 1]);
    expect(record.stages.map(({ name }) => name).slice(-3)).toEqual([
      'deploy staging',
      'verify staging',
      'deploy production',
    ]);
    const results = record.verifications ?? [];
    expect(results.map(({ name, kind, passed }) => [name, kind, passed]).sort()).toEqual([
      ['errors', 'prometheus', true],
      ['evaluates', 'job', true],
      ['predicts', 'http', true],
    ]);
    const span = stageOf(record, 'verify staging')?.spanId;
    expect(asked.find((line) => line.startsWith('POST /predict'))).toContain(`${record.traceId}-${span}`);
    const spansOf = () => collector.spans.filter(({ traceId }) => traceId === record.traceId);
    while (!spansOf().some(({ name }) => name.startsWith('RUN '))) await sleep(100);
    for (const name of ['predicts', 'errors', 'evaluates']) {
      expect(spansOf().filter((one) => one.name === `verify ${name}`)).toMatchObject([
        {
          parentSpanId: span,
          attributes: { 'deployment.environment.name': 'staging', 'throughline.verify.check': name },
        },
      ]);
    }
    const checked = readFileSync(join(world.data, 'jobs', 'checked'), 'utf8');
    expect(checked).toContain(
      `staging tiny-1 ${record.release} ${record.image?.reference} 00-${record.traceId}-${span}`,
    );
  });

  it('ends the release where one does not pass, and leaves the next environment alone', async () => {
    const { repository, staging, production } = model(
      'fails',
      [few({ for: '1h' }), job, predicts({ attempts: 1, successes: 1000, timeout: '2m' })],
      'echo $$ > ../pid; sleep 300\n',
    );
    const { body } = await world.trigger({ repository });
    await world.until(body.id, () => pidsOf(body.id).filter(isAlive).length === 1);
    served = 'another';
    const record = await world.ended(body.id);
    served = 'tiny-1';
    expect(record.status).toBe('FAILED');
    expect(record.outcome).toMatchObject({
      problem: {
        code: 'TL_VERIFICATION_FAILED',
        message: 'The check predicts of staging did not pass: model_id "another"',
        expected: expect.stringContaining('model_id "tiny-1"'),
        found: 'model_id "another"',
      },
    });
    expect([commitsOf(staging), commitsOf(production)]).toEqual([1, 0]);
    expect(stageOf(record, 'verify staging')).toMatchObject({
      status: 'FAILED',
      problem: { code: 'TL_VERIFICATION_FAILED' },
    });
    expect(record.verifications).toMatchObject([{ name: 'predicts', passed: false }]);
    expect(pidsOf(record.release).filter(isAlive)).toEqual([]); // what ran beside it was stopped
    expect(record.result.error).toContain('TL_VERIFICATION_FAILED');
  });

  it('ends it where its Job fails, with the end of its log', async () => {
    const { repository, production } = model(
      'job-fails',
      [job],
      'echo "accuracy 0.2 on live data"; exit 4\n',
    );
    const record = await world.release(repository, 'FAILED');
    expect(record.outcome).toMatchObject({ problem: { code: 'TL_VERIFICATION_FAILED' } });
    expect(record.verifications?.[0]?.found).toMatch(/ended with exit code 4 after 1 run.*accuracy 0.2/s);
    expect(commitsOf(production)).toBe(0);
  });

  it('is refused before anything runs where a Job could not run here', async () => {
    const { repository } = model('unsupported', [{ ...job, job: { manifest: 'checks/other.yaml' } }]);
    const record = await world.release(repository, 'FAILED');
    expect(record.outcome).toMatchObject({ problem: { code: 'TL_FILE_NOT_FOUND' } });
    expect(record.training).toBeUndefined();
  });
});

describe('a worker that is killed', () => {
  it('in the middle of a window has a successor that goes on with it', async () => {
    await world.killAll();
    const worker = await world.instantWorker();
    const { repository } = model('killed', [few({ for: '8s', timeout: '40s' })]);
    const { body } = await world.trigger({ repository });
    await world.until(body.id, ({ progress }) => /has held for [3-9]/.test(progress));
    await world.kill(worker);
    await world.instantWorker();
    const { progress } = await world.until(body.id, (one) => /attempt 2: .*has held for/.test(one.progress));
    expect(Number(/has held for ([\d.]+)s/.exec(progress)?.[1])).toBeGreaterThanOrEqual(3);
    const record = await world.ended(body.id);
    expect(record.status).toBe('SUCCEEDED');
    const [result] = record.verifications ?? [];
    const seconds = (Date.parse(result?.endedAt ?? '') - Date.parse(result?.startedAt ?? '')) / 1000;
    expect(seconds).toBeGreaterThan(8);
  });
});

describe('a release that is canceled in the middle of its checks', () => {
  it('leaves no Job and no question behind (I6)', async () => {
    const { repository, production } = model(
      'canceled',
      [job, few({ for: '1h' })],
      'echo $$ > ../pid; sleep 300\n',
    );
    const { body } = await world.trigger({ repository });
    await world.until(body.id, (record) => verifying(record) && record.pending.length === 2);
    await world.until(body.id, () => pidsOf(body.id).filter(isAlive).length === 1);
    const pids = pidsOf(body.id);
    await world.releases.cancel(body.id);
    const record = await world.ended(body.id);
    expect(record.status).toBe('CANCELED');
    expect(stageOf(record, 'verify staging')?.status).toBe('CANCELED');
    expect(pids.filter(isAlive)).toEqual([]);
    const before = asked.length;
    await sleep(500);
    expect(asked.length).toBe(before);
    expect(commitsOf(production)).toBe(0);
  });
});
