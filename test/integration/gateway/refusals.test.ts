// What a plan, a trigger or a program may not reach, and what their text may not do: nothing runs, nothing changes, and no
// secret is anywhere (I9).
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { temporal } from '@temporalio/proto';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { parse } from 'yaml';
import { startCollector } from '../../../src/dev/collector.js';
import { freePort } from '../../../src/dev/ports.js';
import { readAudit } from '../../../src/lineage/audit.js';
import { LineageStore } from '../../../src/lineage/index.js';
import { traceOf } from '../../../src/telemetry/delivery.js';
import { bearer, holder, writeConfiguration } from '../../support/access.js';
import { Postgres } from '../../support/postgres.js';
import { git, type ModelOptions, TRAIN, World } from '../../support/world.js';

let world: World;
let configuration: string;
const somebody = holder('somebody', { roles: ['admin'] });

beforeAll(async () => {
  world = await World.start('refusals');
  configuration = writeConfiguration(join(world.directory, 'server.yaml'), {
    authentication: { tokens: [somebody.entry] },
    allow: {
      repositories: [`file://${world.directory}/*`],
      gitopsRepositories: [`file://${world.directory}/*-gitops.git`],
      plans: ['throughline.yaml', 'models/*/throughline.yaml'],
      registries: ['registry.example/ml/**'],
      namespaces: ['ml-training'],
      serviceAccounts: ['default', 'trainer'],
      argocdNamespaces: ['argocd'],
    },
  });
});
afterAll(() => world?.stop());

const JOB = (pod: string, container = '', metadata = '') => `apiVersion: batch/v1
kind: Job
${metadata}spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
${pod.replaceAll(/^/gm, '      ')}
      containers:
        - name: trainer
          image: registry.example/ml/trainer:1
          command: [sh, train.sh]
${container.replaceAll(/^/gm, '          ')}
`;

let count = 0;
function model(options: Partial<ModelOptions>): { url: string; gitops: string } {
  count += 1;
  return world.model(`model-${count}`, options);
}

describe('a plan that reaches beyond what is allowed is refused by name, before anything runs', () => {
  beforeAll(async () => {
    await world.worker({ THROUGHLINE_CONFIG: configuration });
  });
  afterAll(() => world.killAll());

  const deploy = (from: string, to: string) => ({ plan: (text: string) => text.replace(from, to) });
  it.each<[string, Partial<ModelOptions>, RegExp, string]>([
    [
      'a foreign GitOps repository',
      { plan: (text) => text.replace(/file:\/\/.*-gitops\.git/, 'https://git.evil.example/x.git') },
      /git\.evil\.example/,
      'throughline.yaml',
    ],
    [
      'a GitOps repository by another way',
      { plan: (text) => text.replace(/(file:\/\/.*)\/([^/]+-gitops\.git)/, '$1/x/../../../tmp/$2') },
      /not allowed/,
      'throughline.yaml',
    ],
    [
      'a foreign registry',
      deploy('image: registry.example/ml/tiny', 'image: registry.evil.example/ml/tiny'),
      /registry\.evil\.example/,
      'throughline.yaml',
    ],
    [
      'a registry that only looks like ours',
      deploy('image: registry.example/ml/tiny', 'image: registry.example.evil/ml/tiny'),
      /registry\.example\.evil/,
      'throughline.yaml',
    ],
    [
      'a public image',
      { job: JOB('', '').replace('registry.example/ml/trainer:1', 'python:3.12') },
      /python:3\.12/,
      'training/job.yaml',
    ],
    [
      'a foreign namespace',
      { job: JOB('', '', 'metadata: { namespace: kube-system }\n') },
      /kube-system/,
      'training/job.yaml',
    ],
    [
      'a foreign service account',
      { job: JOB('serviceAccountName: cluster-admin') },
      /cluster-admin/,
      'training/job.yaml',
    ],
    [
      'the same by its old name',
      { job: JOB('serviceAccount: cluster-admin') },
      /cluster-admin/,
      'training/job.yaml',
    ],
    [
      'a host path',
      { job: JOB('volumes: [{ name: x, hostPath: { path: /etc } }]') },
      /\/etc/,
      'training/job.yaml',
    ],
    ['the host’s network', { job: JOB('hostNetwork: true') }, /hostNetwork/, 'training/job.yaml'],
    ['the host’s processes', { job: JOB('hostPID: true') }, /hostPID/, 'training/job.yaml'],
    [
      'a privileged container',
      { job: JOB('', 'securityContext: { privileged: true }') },
      /privileged/,
      'training/job.yaml',
    ],
    [
      'a capability',
      { job: JOB('', 'securityContext: { capabilities: { add: [SYS_ADMIN] } }') },
      /SYS_ADMIN/,
      'training/job.yaml',
    ],
    [
      'a port of the host',
      { job: JOB('', 'ports: [{ containerPort: 80, hostPort: 80 }]') },
      /80/,
      'training/job.yaml',
    ],
    [
      'a privileged init container',
      {
        job: JOB(
          'initContainers: [{ name: i, image: registry.example/ml/i, securityContext: { privileged: true } }]',
        ),
      },
      /privileged/,
      'training/job.yaml',
    ],
    [
      'an init container’s foreign image',
      { job: JOB('initContainers: [{ name: i, image: evil.example/i }]') },
      /evil\.example/,
      'training/job.yaml',
    ],
    [
      'seccomp unconfined',
      { job: JOB('securityContext: { seccompProfile: { type: Unconfined } }') },
      /seccomp/,
      'training/job.yaml',
    ],
    ['a node', { job: JOB('nodeName: control-plane') }, /node/, 'training/job.yaml'],
    [
      'a foreign Argo CD',
      deploy(
        '    container: inference\n',
        '    container: inference\n    argocd: { application: x, namespace: other-team }\n',
      ),
      /other-team/,
      'throughline.yaml',
    ],
  ])('%s', async (_, options, said, file) => {
    const { url, gitops } = model(options);
    const { body, status } = await world.trigger({ repository: url });
    expect(status).toBe(202);
    const record = await world.ended(body.id);
    const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
    expect(problem?.code, JSON.stringify(problem)).toBe('TL_NOT_ALLOWED');
    expect(problem?.message).toMatch(said);
    expect(problem?.where?.file).toBe(file);
    expect(problem?.where?.line).toBeGreaterThan(1);
    expect(record.stages.map(({ name }) => name)).toEqual(['plan']);
    expect(world.trainingRuns()).toEqual([]);
    expect(git(gitops, 'rev-list', '--count', 'main').trim()).toBe('1');
  });

  it('says everything that is wrong at once', async () => {
    const { url } = model({ job: JOB('hostNetwork: true\nhostPID: true\nserviceAccountName: root') });
    const record = await world.ended((await world.trigger({ repository: url })).body.id);
    const problem = record.outcome && 'problem' in record.outcome ? record.outcome.problem : undefined;
    expect([problem, ...(problem?.also ?? [])].map((one) => one?.message).join('\n')).toMatch(
      /root[\s\S]*hostNetwork[\s\S]*hostPID/,
    );
  });

  it('and what is allowed is not', async () => {
    const job = JOB(
      'serviceAccountName: trainer',
      `env: [{ name: RUNS, value: "${world.runs}" }]`,
      'metadata: { namespace: ml-training }\n',
    );
    const record = await world.ended((await world.trigger({ repository: model({ job }).url })).body.id);
    expect(record.outcome).toEqual({ status: 'SUCCEEDED' });
  });

  it.each([
    ['repository', { repository: 'https://git.evil.example/x.git' }],
    ['repository by another way', { repository: 'ssh://git@github.com/evil/x.git' }],
    ['plan', { plan: 'other/throughline.yaml' }],
  ])('a trigger with a foreign %s is refused where it arrives', async (_, body) => {
    const { readConfiguration } = await import('../../../src/policy/index.js');
    const gateway = await world.gateway({ configuration: await readConfiguration(configuration) });
    const answer = await gateway.app.inject({
      method: 'POST',
      url: '/v1/releases',
      payload: { repository: `file://${world.directory}/x`, ...body },
      headers: bearer(somebody),
    });
    expect([answer.statusCode, answer.json().error.code]).toEqual([403, 'TL_NOT_ALLOWED']);
    await gateway.close();
  });
});

describe('text that would be code somewhere', () => {
  const pwned = '/tmp/throughline-pwned';
  const hostile = [
    `$(touch ${pwned})`,
    `\`touch ${pwned}\``,
    `; touch ${pwned} #`,
    `'"; touch ${pwned}; echo "'`,
    '{{ .Values.evil }}',
    '"}]}: &anchor *alias !!js/function',
    `- name: evil\n  value: "1"`,
    '%2e%2e%2f%00',
    '<script>alert(1)</script>',
    '{"level":"error","msg":"forged"}',
  ];

  beforeAll(async () => {
    await world.worker({ THROUGHLINE_LOG_LEVEL: 'debug' });
  });
  afterAll(() => world.killAll());

  it('in a ref, a path, a key, a header or a person’s name changes nothing', async () => {
    const { url } = model({});
    const before = world.trainingRuns().length;
    for (const text of hostile) {
      for (const body of [
        { ref: text },
        { plan: text },
        { repository: `${url}/${text}` },
        { repository: text },
        { trigger: { hash: text } },
        { trigger: { branch: text } },
        { parameters: { [text]: 'x' } },
      ]) {
        const answer = await world.trigger({ repository: url, ...body });
        if (answer.status !== 202) {
          expect(answer.status).toBeLessThan(500);
          continue;
        }
        const record = await world.ended(answer.body.id);
        expect(record.status, JSON.stringify(body)).toBe('FAILED');
      }
    }
    expect(world.trainingRuns()).toHaveLength(before);
    expect(existsSync(pwned)).toBe(false);
  });

  it('in a parameter, a person’s name, baggage or a model’s id arrives as it is, and nowhere as more than text', async () => {
    const id = 'evil: "}]\n  injected: true # $(id)'.replace('\n', '\\n');
    const train = TRAIN.replaceAll('\\"tiny-1\\"', '\\"$EVIL_ID\\"').replace(
      'set -e',
      `set -e\nEVIL_ID='${id.replaceAll('"', '\\"').replaceAll("'", '')}'`,
    );
    const { url, gitops } = model({ train, parameters: { EVIL: 'none' } });
    for (const text of hostile.slice(0, 4)) {
      const { body, status } = await world.trigger({
        repository: url,
        parameters: { EVIL: text },
        trigger: { user: text },
        baggage: 'k=v',
      });
      expect(status).toBe(202);
      const record = await world.ended(body.id);
      expect(record.request.parameters.EVIL).toBe(text);
      if (record.status === 'SUCCEEDED') {
        const manifest = parse(git(gitops, 'show', 'main:k8s/deployment.yaml'));
        expect(JSON.stringify(manifest)).not.toContain('"injected":true');
        const trailers = git(gitops, 'log', '-1', '--format=%(trailers:only)', 'main');
        expect(trailers).not.toMatch(/^injected/m);
      }
    }
    expect(existsSync(pwned)).toBe(false);
    // Each line of the log is one object of ours: nobody wrote one of their own.
    for (const line of world
      .logs()
      .split('\n')
      .filter((one) => one.startsWith('{'))) {
      expect(JSON.parse(line)).toHaveProperty('service');
    }
  });
});

describe('a secret', () => {
  const SECRETS = {
    token: somebody.token,
    wrongToken: 'tl_PLANTED-wrong-token-000000000000000000000',
    basic: 'PLANTED-basic-password',
    url: 'PLANTED-url-password',
    urlQuery: 'PLANTED-query-token',
    planUrl: 'PLANTED-plan-password',
    jobEnvironment: 'PLANTED-job-environment',
    jobArgument: 'PLANTED-job-argument',
    hook: 'PLANTED-webhook-signature',
    header: 'PLANTED-api-key-header',
    parameter: 'PLANTED-parameter',
    credential: 'PLANTED-git-credential',
  };

  it('that is planted in every input is found nowhere, byte by byte', async () => {
    const postgres = await Postgres.start();
    onTestFinished(() => postgres.stop());
    const collector = await startCollector({
      file: join(world.directory, 'spans.jsonl'),
      httpPort: await freePort(0),
      grpcPort: await freePort(0),
    });
    onTestFinished(() => collector.stop());
    const port = await freePort(0);
    const env = {
      THROUGHLINE_CONFIG: configuration,
      THROUGHLINE_LOG_LEVEL: 'debug',
      THROUGHLINE_DATABASE_URL: postgres.url,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.http,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/protobuf',
      GIT_CONFIG_COUNT: '1',
      GIT_CONFIG_KEY_0: 'credential.helper',
      GIT_CONFIG_VALUE_0: `!printf 'username=me\\npassword=${SECRETS.credential}\\n'; #`,
    };
    await world.worker(env);
    await world.gatewayProcess(port, env);
    const responses: string[] = [];
    const base = `http://127.0.0.1:${port}`;
    const ask = async (path: string, init: RequestInit = {}) => {
      const answer = await fetch(`${base}${path}`, init);
      const text = `${JSON.stringify([...answer.headers])}\n${await answer.text()}`;
      responses.push(text);
      return { status: answer.status, text };
    };
    const post = (body: object, headers: Record<string, string> = bearer(somebody), path = '/v1/releases') =>
      ask(path, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'x-api-key': SECRETS.header,
          cookie: `s=${SECRETS.header}`,
          ...headers,
        },
        body: JSON.stringify(body),
      });

    const job = JOB(
      '',
      `args: ["--password=${SECRETS.jobArgument}"]
env:
  - { name: RUNS, value: "${world.runs}" }
  - { name: DATABASE_PASSWORD, value: "${SECRETS.jobEnvironment}" }`,
    );
    const good = model({ job });
    const failing = model({ job, train: 'test -n "$DATABASE_PASSWORD" || exit 9; exit 3\n' });
    const planned = model({
      plan: (text) =>
        text.replace(/file:\/\/(.*-gitops\.git)/, `https://me:${SECRETS.planUrl}@git.example/x.git`),
    });
    const refused = [
      await post({ repository: good.url }, { authorization: `Bearer ${SECRETS.wrongToken}` }),
      await post(
        { repository: good.url },
        { authorization: `Basic ${Buffer.from(`me:${SECRETS.basic}`).toString('base64')}` },
      ),
      await post({ repository: `https://me:${SECRETS.url}@git.example/x.git` }),
      await post({ repository: `https://git.example/x.git?private_token=${SECRETS.urlQuery}` }),
      await post({ repository: `ssh://me:${SECRETS.url}@git.example/x.git` }),
      await post({ repository: good.url, parameters: { API_TOKEN: SECRETS.parameter } }),
      await post(
        { repository: good.url },
        { 'webhook-id': 'x', 'webhook-timestamp': '1', 'webhook-signature': `v1,${SECRETS.hook}` },
      ),
      await ask(`/v1/releases?token=${SECRETS.urlQuery}`, { headers: bearer(somebody) }),
    ];
    for (const { status, text } of refused) expect(status, text).toBeGreaterThanOrEqual(400);
    const started: string[] = [];
    for (const { url } of [good, failing, planned]) {
      const { text } = await post({
        repository: url,
        trigger: { user: 'ann', payload: { secret: SECRETS.parameter } },
      });
      started.push(JSON.parse(text.split('\n').slice(1).join('\n')).id as string);
    }
    const ends: string[] = [];
    for (const id of started) {
      ends.push((await world.ended(id)).status);
      await ask(`/v1/releases/${id}`, { headers: bearer(somebody) });
      await ask(`/v1/releases/${id}/events`, { headers: bearer(somebody) });
    }
    expect(ends).toEqual(['SUCCEEDED', 'FAILED', 'FAILED']);
    // The program did get it.
    expect(world.trainingRuns().some(({ release }) => release === started[0])).toBe(true);
    await ask('/v1/audit?limit=500', { headers: bearer(somebody) });
    await ask(`/v1/lineage/${started[0]}`, { headers: bearer(somebody) });
    const { spans } = await traceOf(world.client.client, started[0] as never);
    await world.killAll();

    const histories: Buffer[] = [];
    for await (const { workflowId, runId } of world.client.client.workflow.list()) {
      const history = await world.client.client.workflow.getHandle(workflowId, runId).fetchHistory();
      histories.push(Buffer.from(temporal.api.history.v1.History.encode(history).finish()));
    }
    const store = await LineageStore.open({ url: postgres.url });
    const audit = await readAudit(store.database, { limit: 1_000 });
    const dump: unknown[] = [];
    for (const table of [
      'releases',
      'pods',
      'deployments',
      'attestations',
      'targets',
      'drifts',
      'outbox',
      'positions',
      'audit',
    ])
      dump.push(await store.database.execute(`select * from ${table}`));
    await store.close();
    const places: Record<string, string | Buffer> = {
      histories: Buffer.concat(histories),
      logs: world.logs(),
      spans: `${JSON.stringify(spans)}${readFileSync(join(world.directory, 'spans.jsonl'), 'utf8')}`,
      commits: git(good.gitops, 'log', '--all', '--patch', '--format=fuller'),
      responses: responses.join('\n'),
      'audit log': JSON.stringify(audit),
      database: JSON.stringify(dump),
    };
    for (const [place, content] of Object.entries(places)) {
      expect(content.length, place).toBeGreaterThan(100);
      for (const [name, secret] of Object.entries(SECRETS)) {
        for (const form of [
          secret,
          Buffer.from(secret).toString('base64').slice(0, -4),
          encodeURIComponent(secret),
        ]) {
          expect(Buffer.from(content).includes(form), `${name} in ${place}`).toBe(false);
        }
      }
    }
    // The search finds what is there.
    expect(Buffer.from(places.histories ?? '').includes('throughline.yaml')).toBe(true);
  });
});
