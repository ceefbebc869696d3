// I10: histories of earlier versions replay on today's workflow code. Kept ones lie in test/histories; `RECORD=1` adds
// those of the releases that this test makes, under the package's version; `RECORD=approved` that one alone.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { historyFromJSON, historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import { DeterminismViolationError } from '@temporalio/workflow';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writerIdOf } from '../../src/domain/temporal-names.js';
import { VERSION } from '../../src/version.js';
import { TRAIN, World } from '../support/world.js';

Runtime.install({ logger: new DefaultLogger('ERROR') });

const KEPT = fileURLToPath(new URL('../histories', import.meta.url));
const BUNDLE = { codePath: fileURLToPath(new URL('../../dist/workflow-bundle.js', import.meta.url)) };

const CHECK_JOB = `apiVersion: batch/v1
kind: Job
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{ name: check, image: registry.example/ml/check:1, command: ["true"] }]
`;

const replay = (history: unknown, id: string) =>
  Worker.runReplayHistory({ workflowBundle: BUNDLE, replayName: id }, historyFromJSON(history), id);

const kept = readdirSync(KEPT, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.json'),
);

describe('histories of every version so far', () => {
  it('are there', () => expect(kept.length).toBeGreaterThanOrEqual(5));

  it.each(kept)('%s replays', async (name) => {
    const history = JSON.parse(readFileSync(join(KEPT, name), 'utf8'));
    await expect(replay(history, history.workflowId)).resolves.toBeUndefined();
  });

  it('would not replay if the workflow did something else', async () => {
    const text = readFileSync(join(KEPT, kept.find((name) => name.includes('succeeded')) ?? ''), 'utf8');
    const other = JSON.parse(text.replaceAll('"buildImage"', '"anotherActivity"'));
    await expect(replay(other, other.workflowId)).rejects.toThrow(DeterminismViolationError);
  });
});

describe('histories of this version', () => {
  let world: World;
  beforeAll(async () => {
    world = await World.start('replay');
  });
  afterAll(() => world?.stop());

  it('replay: succeeded, rolled back, a writer’s, rejected, failed, canceled, approved, verified, not verified, and with a worker killed in the middle', async () => {
    let worker = await world.worker();
    const ids: Record<string, string> = {};
    const succeeded = world.model('succeeded');
    ids.succeeded = (await world.release(succeeded.url, 'SUCCEEDED')).release;
    await world.release(succeeded.url, 'SUCCEEDED');
    const rollback = await fetch(`${world.url}/v1/rollbacks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ model: 'succeeded', environment: 'production' }),
    });
    ids['rolled-back'] = ((await rollback.json()) as { id: string }).id;
    expect((await world.ended(ids['rolled-back'])).status).toBe('SUCCEEDED');
    ids['gitops-writer'] = writerIdOf(`file://${succeeded.gitops}`, 'main');
    ids.rejected = (
      await world.release(world.model('rejected', { parameters: { ACCURACY: 0.1 } }).url, 'REJECTED')
    ).release;
    ids.failed = (await world.release(world.model('failed', { train: 'exit 1\n' }).url, 'FAILED')).release;
    const { body: canceled } = await world.trigger({
      repository: world.model('canceled', { parameters: { TICKS: 600 } }).url,
    });
    await world.until(canceled.id, ({ stages }) => stages.at(-1)?.name === 'train');
    await world.releases.cancel(canceled.id);
    await world.ended(canceled.id);
    ids.canceled = canceled.id;
    const { body: approved } = await world.trigger({
      repository: world.model('approved', {
        plan: (text) =>
          text.replace(
            '    container: inference\n',
            '    container: inference\n    approval: required\n    escalation: { after: 1s, note: call somebody }\n',
          ),
      }).url,
    });
    await world.until(approved.id, ({ awaited }) => awaited?.[0]?.escalated !== undefined);
    const decision = { decision: 'approved', by: 'bob', comment: 'looks right' } as const;
    await world.releases.decide(approved.id, decision);
    expect((await world.ended(approved.id)).status).toBe('SUCCEEDED');
    ids.approved = approved.id;
    const verifies = createServer((_, response) => response.end('{"model_id":"tiny-1"}'));
    await new Promise<void>((resolve) => verifies.listen(0, '127.0.0.1', resolve));
    const { port } = verifies.address() as { port: number };
    const checks = [
      {
        name: 'predicts',
        http: {
          url: `http://127.0.0.1:${port}/predict`,
          expect: { body: { json: { model_id: '{{ model.id }}' } } },
        },
      },
      { name: 'evaluates', job: { manifest: 'checks/job.yaml' } },
    ];
    const verified = world.model('verified', {
      plan: (text) => `${text}    verify: ${JSON.stringify(checks)}\n`,
      files: {
        'checks/job.yaml': CHECK_JOB,
      },
    });
    ids.verified = (await world.release(verified.url, 'SUCCEEDED')).release;
    const other = { ...checks[0], http: { ...checks[0]?.http, attempts: 1, expect: { status: 201 } } };
    const unverified = world.model('unverified', {
      plan: (text) => `${text}    verify: ${JSON.stringify([checks[1], other])}\n`,
      files: { 'checks/job.yaml': CHECK_JOB.replace('"true"', 'sleep, "60"') },
    });
    ids['verification-failed'] = (await world.release(unverified.url, 'FAILED')).release;
    await new Promise((resolve) => verifies.close(resolve));
    const { body: killed } = await world.trigger({
      repository: world.model('killed', { parameters: { TICKS: 30 }, train: TRAIN }).url,
    });
    await world.until(killed.id, ({ stages }) => stages.at(-1)?.name === 'train');
    await sleep(500);
    await world.kill(worker);
    worker = await world.worker();
    expect((await world.ended(killed.id)).status).toBe('SUCCEEDED');
    ids['worker-killed'] = killed.id;

    for (const [name, id] of Object.entries(ids)) {
      const history = await world.client.client.workflow.getHandle(id).fetchHistory();
      const json = { ...JSON.parse(historyToJSON(history)), workflowId: id };
      if (process.env.RECORD === '1' || process.env.RECORD === name) {
        mkdirSync(join(KEPT, VERSION), { recursive: true });
        writeFileSync(
          join(KEPT, VERSION, `${name}.json`),
          `${JSON.stringify(json, null, 1).replaceAll(world.directory, '/work')}\n`,
        );
      }
      await expect(replay(json, id), name).resolves.toBeUndefined();
    }
  });
});
