// People who let a release go on, or do not: durably, by whom, and told to whoever wants to know.
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import type { CdEvent } from '../../../src/events/cdevents.js';
import type { PresentedRelease } from '../../../src/gateway/present.js';
import { lineageOf } from '../../../src/lineage/index.js';
import { NO_CONFIGURATION, readConfiguration } from '../../../src/policy/index.js';
import { runsOf, traceOf } from '../../../src/telemetry/delivery.js';
import { holder, writeConfiguration } from '../../support/access.js';
import { Listener } from '../../support/listener.js';
import { git, World } from '../../support/world.js';

let world: World;
let listener: Listener;
/** Does not answer until a test lets it. */
let awayFirst: Listener;
const secret = `whsec_${randomBytes(32).toString('base64')}`;
let env: Record<string, string>;

const approvals =
  (more = '') =>
  (text: string) =>
    text.replace('    container: inference\n', `    container: inference\n    approval: required\n${more}`);

beforeAll(async () => {
  world = await World.start('approval');
  listener = await Listener.start();
  awayFirst = await Listener.start();
  awayFirst.answer = 503;
  writeFileSync(join(world.directory, 'events.secret'), `${secret}\n`);
  writeFileSync(
    join(world.directory, 'server.yaml'),
    `apiVersion: throughline.dev/v1alpha1
kind: ServerConfiguration
gateway: { publicUrl: https://throughline.example }
approval: { separate: true }
events:
  - { url: "${listener.url}/hook", secretFile: events.secret }
  - { url: "${awayFirst.url}/hook?token=hunter2", secretFile: events.secret }
`,
  );
  env = { THROUGHLINE_CONFIG: join(world.directory, 'server.yaml') };
  await world.worker(env);
});
afterAll(async () => {
  await world?.stop();
  await listener?.stop();
  await awayFirst?.stop();
});

const waits = (id: string) =>
  world.until(id, ({ stages }) => stages.at(-1)?.name === 'approve production' && !stages.at(-1)?.endedAt);

async function decide(
  id: string,
  verb: 'approve' | 'reject',
  body: object,
): Promise<[number, Record<string, never>]> {
  const answer = await fetch(`${world.url}/v1/releases/${id}/${verb}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return [answer.status, (await answer.json()) as Record<string, never>];
}

const told = (release: string, by = listener): CdEvent[] =>
  by.received
    .map(({ body }) => (JSON.parse(body) as { data: CdEvent }).data)
    .filter(({ customData }) => (customData as { release: string }).release === release);

async function toldOf(release: string, type: RegExp, by = listener): Promise<CdEvent> {
  for (let waited = 0; waited < 90_000; waited += 200) {
    const found = told(release, by).find(({ context }) => type.test(context.type));
    if (found) return found;
    await sleep(200);
  }
  throw new Error(`nobody was told ${type}: ${told(release, by).map(({ context }) => context.type)}`);
}

describe.concurrent('a deployment that somebody has to approve', () => {
  it('waits, over the death of its worker, and says for what; who approved is in history, trace, lineage and commit', async () => {
    const model = world.model('waiting', { plan: approvals() });
    const { body } = await world.trigger({ repository: model.url, trigger: { user: 'ann@example' } });
    const waiting = await waits(body.id);
    expect(waiting.progress).toMatch(/^approve production: waiting for an approval until .* https?:\/\//);
    expect(git(model.gitops, 'rev-list', '--count', 'main').trim()).toBe('1');
    await world.killAll();
    await world.worker(env);

    expect(await decide(body.id, 'approve', { by: 'Ann@Example' })).toMatchObject([
      403,
      { error: { code: 'TL_APPROVAL_SAME_PERSON' } },
    ]);
    expect(await decide(body.id, 'approve', { by: 'bob', environment: 'staging' })).toMatchObject([
      409,
      { error: { code: 'TL_APPROVAL_NOT_AWAITED' } },
    ]);
    const made = await decide(body.id, 'approve', { by: 'bob', comment: 'looks good: go\nApproved-By: eve' });
    expect(made[0]).toBe(400); // a line break would be another trailer
    const [status, approval] = await decide(body.id, 'approve', { by: 'bob', comment: 'looks good' });
    expect([status, approval]).toMatchObject([
      200,
      { environment: 'production', decision: 'approved', by: 'bob' },
    ]);
    expect((await decide(body.id, 'approve', { by: 'bob' }))[1]).toEqual(approval); // the same again

    const record = await world.ended(body.id);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    expect(record.result.approvedBy).toEqual({ production: 'bob' });
    const commit = git(model.gitops, 'log', '-1', '--format=%B', 'main');
    expect(commit).toMatch(/^Approved-By: bob$/m);
    expect(commit).toMatch(/^Approval-Comment: looks good$/m);
    const { spans } = await traceOf(world.client.client, record.release);
    expect(spans.find(({ name }) => name === 'approve production')?.attributes).toMatchObject({
      'throughline.approval.by': 'bob',
      'throughline.approval.decision': 'approved',
      'throughline.approval.comment': 'looks good',
    });
    const { release } = lineageOf(await runsOf(world.client.client, record.release));
    expect(release.approvals).toMatchObject([
      { environment: 'production', by: 'bob', comment: 'looks good' },
    ]);
    expect(release.requestedBy).toBe('ann@example');

    // And afterwards there is nothing to decide on.
    expect(await decide(body.id, 'reject', { by: 'carl' })).toMatchObject([
      409,
      { error: { code: 'TL_APPROVAL_NOT_AWAITED' } },
    ]);
  });

  it('ends REJECTED where it is refused, with the reason, and nothing is committed', async () => {
    const model = world.model('refused', { plan: approvals() });
    const { body } = await world.trigger({ repository: model.url });
    await waits(body.id);
    expect((await decide(body.id, 'reject', { by: 'bob', comment: 'not on a Friday' }))[0]).toBe(200);
    const record = await world.ended(body.id);
    expect(record.outcome).toMatchObject({
      status: 'REJECTED',
      problem: { code: 'TL_APPROVAL_REFUSED', message: 'bob refused production: not on a Friday' },
    });
    expect(git(model.gitops, 'rev-list', '--count', 'main').trim()).toBe('1');
    const finished = await toldOf(body.id, /pipelinerun\.finished/);
    expect(finished.subject.content).toMatchObject({ outcome: 'failure', pipelineName: 'refused' });
  });

  it('says the plan’s note where nobody answers, and ends REJECTED at the deadline', async () => {
    const plan = approvals(
      '    approvalTimeout: 6s\n    escalation: { after: 2s, note: "call the duty officer" }\n',
    );
    const model = world.model('late', { plan });
    const { body } = await world.trigger({ repository: model.url });
    const escalated = await world.until(body.id, ({ progress }) =>
      progress.includes('call the duty officer'),
    );
    expect(escalated.awaited).toMatchObject([
      { environment: 'production', escalated: { note: 'call the duty officer' } },
    ]);
    const record = await world.ended(body.id);
    expect(record.outcome).toMatchObject({ status: 'REJECTED', problem: { code: 'TL_APPROVAL_EXPIRED' } });
    expect((await toldOf(body.id, /approval\.escalated/)).subject.content).toMatchObject({
      note: 'call the duty officer',
    });
    expect((await toldOf(body.id, /approval\.requested/)).subject.content).toMatchObject({
      environment: { id: 'production' },
    });
  });

  it('is canceled while it waits', async () => {
    const model = world.model('canceled', { plan: approvals() });
    const { body } = await world.trigger({ repository: model.url });
    await waits(body.id);
    await world.releases.cancel(body.id);
    const record = await world.ended(body.id);
    expect(record.outcome).toMatchObject({ status: 'CANCELED' });
    expect(record.stages.at(-1)).toMatchObject({ name: 'approve production', status: 'CANCELED' });
  });
});

describe.concurrent('a listener', () => {
  it('is told of every step, in order, once, signed, by CDEvents; also where it was away', async () => {
    const model = world.model('told', { plan: (text) => text });
    const { body } = await world.trigger({ repository: model.url });
    const record = await world.ended(body.id);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
    expect(told(body.id, awayFirst)).toEqual([]);
    awayFirst.answer = undefined;
    await sleep(1_500);
    awayFirst.answer = 204;
    await toldOf(body.id, /pipelinerun\.finished/, awayFirst);
    const events = told(body.id, awayFirst);
    expect(events.map(({ context }) => context.type.replace(/^dev\.cdevents\.|\.0\.3\.0$/g, ''))).toEqual([
      'pipelinerun.queued',
      'taskrun.started',
      'taskrun.finished',
      'pipelinerun.started',
      ...['train', 'evaluate', 'build'].flatMap((stage) =>
        stage === 'build'
          ? ['taskrun.started', 'taskrun.finished', 'artifact.packaged']
          : ['taskrun.started', 'taskrun.finished'],
      ),
      'taskrun.started',
      'taskrun.finished',
      'service.deployed',
      'pipelinerun.finished',
    ]);
    expect(new Set(events.map(({ context }) => context.id)).size).toBe(events.length);
    expect(events.at(-1)?.subject).toMatchObject({
      id: body.id,
      content: {
        pipelineName: 'told',
        outcome: 'success',
        uri: `https://throughline.example/v1/releases/${body.id}`,
      },
    });
    expect(events.at(-1)?.customData).toMatchObject({ traceId: record.traceId, commit: record.commit });
    for (const { headers, body: text, path } of awayFirst.received) {
      expect(path).toBe('/hook?token=hunter2');
      expect(headers['content-type']).toMatch(/^application\/cloudevents\+json/);
      const { id, type, subject } = JSON.parse(text);
      expect(headers['webhook-id']).toBe(id);
      expect(type).toMatch(/^dev\.cdevents/);
      expect(subject).toBeTruthy();
      new Webhook(secret).verify(text, headers as Record<string, string>);
    }
    // The URL may have a token in it, so it is in no history.
    for await (const { workflowId } of world.client.client.workflow.list({
      query: "WorkflowType = 'deliverEvents'",
    })) {
      const history = await world.client.client.workflow.getHandle(workflowId).fetchHistory();
      expect(historyToJSON(history)).not.toMatch(/hunter2|127\.0\.0\.1:/);
    }
  });
});

describe.concurrent('who follows a release', () => {
  it('sees every event once, in order, also when the connection is cut and another gateway goes on', async () => {
    const { body } = await world.trigger({
      repository: world.model('followed', { parameters: { TICKS: 25 } }).url,
    });
    const other = await world.gateway();
    const otherUrl = await other.listen({ host: '127.0.0.1', port: 0 });
    const seen: { id: string; type: string }[] = [];
    let last: string | undefined;
    for (let round = 0; round < 60 && last !== 'end'; round += 1) {
      const cut = new AbortController();
      const base = round % 2 === 0 ? world.url : otherUrl;
      const timer = setTimeout(() => cut.abort(), 700 + 150 * round);
      try {
        const answer = await fetch(`${base}/v1/releases/${body.id}/events`, {
          headers: last === undefined ? {} : { 'last-event-id': last },
          signal: cut.signal,
        });
        expect(answer.headers.get('content-type')).toMatch(/^text\/event-stream/);
        let text = '';
        const decoder = new TextDecoder();
        for await (const chunk of answer.body ?? []) {
          text += decoder.decode(chunk as Uint8Array, { stream: true });
          for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
            const id = /^id: (.*)$/m.exec(text.slice(0, end))?.[1];
            const type = /^event: (.*)$/m.exec(text.slice(0, end))?.[1];
            text = text.slice(end + 2);
            if (id === undefined || type === undefined) continue;
            seen.push({ id, type });
            last = id;
          }
        }
      } catch (error) {
        if (!cut.signal.aborted) throw error;
      } finally {
        clearTimeout(timer);
      }
    }
    expect(last).toBe('end');
    const stages = ['plan', 'train', 'evaluate', 'build', 'deploy'];
    expect(seen.map(({ type }) => type)).toEqual([
      'release.started',
      ...stages.flatMap(() => ['stage.started', 'stage.ended']),
      'release.ended',
    ]);
    expect(seen.map(({ id }) => id)).toEqual([
      ...Array.from({ length: 11 }, (_, index) => String(index + 1)),
      'end',
    ]);
    const again = await fetch(`${world.url}/v1/releases/${body.id}/events`, {
      headers: { 'last-event-id': 'end' },
    });
    expect(again.status).toBe(204);
    await other.close();
  });

  it('is let go of when the gateway ends, which says so before', async () => {
    const { body } = await world.trigger({
      repository: world.model('drained', { parameters: { TICKS: 600 } }).url,
    });
    const other = await world.gateway();
    const url = await other.listen({ host: '127.0.0.1', port: 0 });
    const stream = await fetch(`${url}/v1/releases/${body.id}/events`);
    const reader = stream.text();
    const closed = other.close(1);
    await sleep(200);
    expect((await fetch(`${url}/readyz`)).status).toBe(503);
    const served = await fetch(`${url}/v1/releases/${body.id}`);
    expect(served.status).toBe(200);
    expect(served.headers.get('connection')).toBe('close');
    await closed;
    expect(await reader).toMatch(/event: stage.started/);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
    await world.releases.cancel(body.id);
    await world.ended(body.id);
  });
});

describe('the command line', () => {
  it('watches and approves over a gateway, as who the token says; and names what is wrong', async () => {
    const [bob, reader] = [holder('bob', { roles: ['approve'] }), holder('reader', { roles: ['read'] })];
    const path = writeConfiguration(join(world.directory, 'people.yaml'), {
      authentication: { tokens: [bob.entry, reader.entry] },
    });
    const asking = await world.gateway({ configuration: await readConfiguration(path) });
    const url = await asking.listen({ host: '127.0.0.1', port: 0 });
    const { body } = await world.trigger({
      repository: world.model('by-command', { plan: approvals() }).url,
    });
    const watching = command(['watch', body.id, '--gateway', url, '--json'], reader.token);
    await waits(body.id);
    const refused = await command(['approve', body.id, '--gateway', url], reader.token);
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('TL_FORBIDDEN') });
    expect(refused.stderr).not.toMatch(/ at .*\.js:\d/);
    expect((await command(['approve', body.id, '--gateway', url], 'nonsense')).stderr).toContain(
      'TL_UNAUTHENTICATED',
    );
    const approved = await command(['approve', body.id, '--gateway', url, '--comment', 'fine'], bob.token);
    expect(approved).toMatchObject({ code: 0, stdout: 'production: approved by bob\n' });
    const watched = await watching;
    expect(watched.code).toBe(0);
    const types = watched.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line).type as string)
      .filter((type) => type !== 'progress');
    expect(types.slice(-5)).toEqual([
      'approval.decided',
      'stage.ended',
      'stage.started',
      'stage.ended',
      'release.ended',
    ]);
    const direct = await command(['watch', body.id], '');
    expect(direct.stdout).toMatch(/= production: approved by bob: fine/);
    await asking.close();
  });

  it('makes a token whose hash goes into the configuration', async () => {
    const { code, stdout, stderr } = await command(
      ['token', 'ci', '--role', 'trigger', '--model', 'a', 'b'],
      '',
    );
    expect(code).toBe(0);
    const sha256 = createHash('sha256').update(stdout.trim()).digest('hex');
    const [, entry = ''] = /^(authentication:[\s\S]*)/m.exec(stderr) ?? [];
    expect(parse(entry).authentication.tokens).toEqual([
      { name: 'ci', sha256, grants: [{ roles: ['trigger'], models: ['a', 'b'] }] },
    ]);
  });

  it('starts no gateway that would let everybody in from elsewhere', async () => {
    const { code, stderr } = await command(['gateway', '--listen', '0.0.0.0:0'], '');
    expect(code).toBe(2);
    expect(stderr).toMatch(
      /would let everybody in[\s\S]*TL_CONFIG_INVALID|TL_CONFIG_INVALID[\s\S]*docs\/access\.md/,
    );
  });
});

function command(
  parameters: readonly string[],
  token: string,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['bin/throughline.js', ...parameters],
      { env: { ...world.environment(), THROUGHLINE_TOKEN: token }, timeout: 90_000 },
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}

describe.concurrent('a release whose caller no longer asks', () => {
  it('ends, and one that is asked for does not', async () => {
    const slow = { parameters: { TICKS: 900 } };
    const leased = await world.gateway({
      configuration: {
        ...NO_CONFIGURATION,
        gateway: { trustedProxies: [], requestsPerMinute: 6000, pollLease: 3 },
      },
    });
    const url = await leased.listen({ host: '127.0.0.1', port: 0 });
    const trigger = async (repository: string) => {
      const answer = await fetch(`${url}/v1/releases`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ repository }),
      });
      return ((await answer.json()) as { id: string }).id;
    };
    const left = await trigger(world.model('left', slow).url);
    const kept = await trigger(world.model('kept', slow).url);
    let record: PresentedRelease | undefined;
    // Twice as long: an outage of Temporal's is not the caller's fault.
    for (let waited = 0; waited < 90 && !record?.outcome; waited += 1) {
      await sleep(1_000);
      await fetch(`${url}/v1/releases/${kept}`);
      // Looked at past the gateway: a look through it would count.
      const { record: found } = await world.releases.get(left);
      record = found as PresentedRelease;
    }
    expect(record?.outcome).toMatchObject({ status: 'CANCELED', reason: expect.stringContaining('3 s') });
    expect((await world.get(kept)).status).toBe('RUNNING');
    await world.releases.cancel(kept);
    await world.ended(kept);
    await leased.close();
  });
});
