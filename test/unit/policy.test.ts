// What an operator allows: how it is written, and that nothing gets around it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv2020 } from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { ThroughlineError } from '../../src/domain/errors.js';
import { scopesOf } from '../../src/gateway/access/caller.js';
import { newToken, Tokens } from '../../src/gateway/access/tokens.js';
import { parseJobManifest, sealJob } from '../../src/plan/index.js';
import { canonicalRepository, checkScope, fullImageName } from '../../src/policy/allowed.js';
import {
  configurationJsonSchema,
  NO_CONFIGURATION,
  parseConfiguration,
} from '../../src/policy/configuration.js';
import { jobViolations } from '../../src/policy/job.js';
import { covers } from '../../src/policy/scopes.js';

const read = (path: string) => readFileSync(fileURLToPath(new URL(`../../${path}`, import.meta.url)), 'utf8');
const HEAD = 'apiVersion: throughline.dev/v1alpha1\nkind: ServerConfiguration\n';

function problemOf(text: string): ThroughlineError['problem'] {
  try {
    parseConfiguration(text, 'server.yaml');
  } catch (error) {
    if (error instanceof ThroughlineError) return error.problem;
  }
  throw new Error('the configuration is taken');
}

describe('a server’s configuration', () => {
  const [, example = ''] = /```yaml\n([\s\S]*?)```/.exec(read('docs/access.md')) ?? [];

  it('of the documentation and of deploy/kubernetes is taken, by the JSON Schema too', () => {
    const ajv = new Ajv2020({ strict: false });
    (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
    const validate = ajv.compile(configurationJsonSchema());
    for (const text of [example, read('deploy/kubernetes/throughline/server.yaml')]) {
      expect(parseConfiguration(text, 'server.yaml').kind).toBe('ServerConfiguration');
      expect(validate(parse(text)), JSON.stringify(validate.errors)).toBe(true);
    }
    expect(parseConfiguration(example, 'x').gateway.drain).toBe(10);
  });

  it.each([
    ['an unknown key', 'allow: { repos: [] }', /Unknown key "repos"/, 3],
    [
      'a token in the place of its hash',
      'authentication:\n  tokens:\n    - { name: x, sha256: tl_SECRET, grants: [{ roles: [read] }] }',
      /sha256/,
      5,
    ],
    [
      'an unknown role',
      'authentication:\n  tokens:\n    - { name: x, sha256: "' +
        'a'.repeat(64) +
        '", grants: [{ roles: [root] }] }',
      /roles/,
      5,
    ],
    ['a bad duration', 'gateway: { pollLease: soon }', /pollLease/, 3],
    [
      'an empty binding',
      'authentication:\n  tokens:\n    - { name: x, sha256: "' +
        'a'.repeat(64) +
        '", grants: [{ roles: [read], models: [] }] }',
      /models/,
      5,
    ],
    ['a proxy that is no address', 'gateway: { trustedProxies: [everybody] }', /trustedProxies/, 3],
  ])('with %s is refused, with the place', (_, text, said, line) => {
    const problem = problemOf(`${HEAD}${text}\n`);
    expect(problem).toMatchObject({ code: 'TL_CONFIG_INVALID', where: { file: 'server.yaml', line } });
    expect(problem.message).toMatch(said);
    expect(JSON.stringify(problem)).not.toContain('SECRET');
  });
});

describe('a repository', () => {
  it.each([
    ['https://GIT.example/ml/x.git', 'https://git.example/ml/x.git'],
    ['https://git.example:443/ml/x.git', 'https://git.example/ml/x.git'],
    ['https://git.example/ml/../evil/x', 'https://git.example/evil/x'],
    ['https://git.example/ml/%2e%2e/evil/x', 'https://git.example/evil/x'],
    ['https://git.example/ml/x.git/', 'https://git.example/ml/x.git'],
    ['git@git.example:ml/x.git', 'ssh://git.example/ml/x.git'],
    ['ssh://git@git.example:22/ml/x.git', 'ssh://git.example/ml/x.git'],
    ['ssh://git@git.example:2222/ml/x.git', 'ssh://git.example:2222/ml/x.git'],
    ['/srv/git/../x', 'file:///srv/x'],
    ['https://git.example/ml%2fx', undefined],
    ['https://git.example/ml/..%2f..%2fevil', undefined],
    ['https://git.example\\@evil.example/x', undefined],
    ['https://git.example/x?y', undefined],
    ['https://git.example/%252e%252e/x', undefined],
  ])('%s leads to %s', (given, canonical) => expect(canonicalRepository(given)).toBe(canonical));
});

describe('an image', () => {
  it.each([
    ['python', 'docker.io/library/python'],
    ['python:3.12', 'docker.io/library/python'],
    ['ml/x@sha256:0', 'docker.io/ml/x'],
    ['index.docker.io/ml/x', 'docker.io/ml/x'],
    ['localhost/x:1', 'localhost/x'],
    ['registry.example:5000/ml/x:1@sha256:0', 'registry.example:5000/ml/x'],
  ])('%s is %s', (given, full) => expect(fullImageName(given)).toBe(full));
});

describe('a Job', () => {
  const job = (pod: string, container = '{}') =>
    parseJobManifest(
      `{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {...: 0, containers: [{name: t, image: i, env: [{name: P, value: hunter2}], args: [--hunter2], securityContext: ${container}}], ${pod}}}}}`.replace(
        '...: 0, ',
        '',
      ),
      'job.yaml',
    );
  it.each([
    ['hostPath', 'volumes: [{hostPath: {path: /}}]', '{}'],
    ['hostNetwork', 'hostNetwork: true', '{}'],
    ['hostIPC', 'hostIPC: true', '{}'],
    ['privileged', 'restartPolicy: Never', '{privileged: true}'],
    ['privileged', 'ephemeralContainers: [{name: e, securityContext: {privileged: true}}]', '{}'],
    ['capabilities', 'restartPolicy: Never', '{capabilities: {add: [cap_net_admin]}}'],
    ['procMount', 'restartPolicy: Never', '{procMount: Unmasked}'],
    ['hostProcess', 'securityContext: {windowsOptions: {hostProcess: true}}', '{}'],
    ['seccompUnconfined', 'restartPolicy: Never', '{seccompProfile: {type: Unconfined}}'],
    ['seLinuxOptions', 'securityContext: {seLinuxOptions: {type: spc_t}}', '{}'],
    ['sysctls', 'securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}', '{}'],
    ['hostPorts', 'initContainers: [{name: i, ports: [{hostPort: 1}]}]', '{}'],
    ['nodeName', 'nodeName: n', '{}'],
  ])('with %s is noticed', (feature, pod, container) => {
    expect(jobViolations(job(pod, container)).map((one) => one.feature)).toEqual([feature]);
  });

  it('within the baseline is not', () => {
    expect(
      jobViolations(
        job(
          'securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}',
          '{capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}}',
        ),
      ),
    ).toEqual([]);
  });

  it('is kept without what could be a secret, and with what an adopting attempt needs (I9)', () => {
    const sealed = sealJob(job('terminationGracePeriodSeconds: 7'));
    expect(JSON.stringify(sealed)).not.toContain('hunter2');
    expect(sealed.spec.template.spec).toMatchObject({
      terminationGracePeriodSeconds: 7,
      containers: [{ name: 't', image: 'i' }],
    });
  });
});

describe('grants', () => {
  const caller = (...grants: Parameters<typeof scopesOf>[0]['grants']) => ({
    name: 'x',
    grants,
    known: true,
  });
  it('add up, and an unbound one is everything', () => {
    const two = caller({ roles: ['read'], models: ['a'] }, { roles: ['read'], environments: ['staging'] });
    expect(covers(scopesOf(two, 'read'), { model: 'a', environments: [] })).toBe(true);
    expect(covers(scopesOf(two, 'read'), { model: 'b', environments: ['staging'] })).toBe(true);
    expect(covers(scopesOf(two, 'read'), { model: 'b', environments: ['production'] })).toBe(false);
    expect(covers(scopesOf(two, 'read'), {})).toBe(false);
    expect(scopesOf(two, 'trigger')).toEqual([]);
    expect(
      scopesOf(caller({ roles: ['read'], models: ['a'] }, { roles: ['admin'] }), 'read'),
    ).toBeUndefined();
  });

  it('of a trigger have to cover every environment of the plan, each by one that has the model', () => {
    const plan = {
      metadata: { name: 'm' },
      deploy: [{ environment: 'staging' }, { environment: 'production' }],
    } as never;
    const take = (within: Parameters<typeof checkScope>[0]) => () => checkScope(within, plan);
    expect(take(undefined)).not.toThrow();
    expect(
      take([{ models: ['m'], environments: ['staging'] }, { environments: ['production'] }]),
    ).not.toThrow();
    expect(
      take([
        { models: ['m'], environments: ['staging'] },
        { models: ['n'], environments: ['production'] },
      ]),
    ).toThrow(/production/);
    expect(take([{ models: ['n'] }])).toThrow(/may not release m/);
    expect(take([])).toThrow();
  });

  it('go with tokens, of which only hashes are known', () => {
    const { token, sha256 } = newToken();
    const tokens = new Tokens([{ name: 'x', sha256, grants: [{ roles: ['read'] }] }]);
    expect(tokens.find(token)?.name).toBe('x');
    for (const wrong of ['', token.slice(1), `${token}a`, sha256]) expect(tokens.find(wrong)).toBeUndefined();
    expect(NO_CONFIGURATION.authentication).toBeUndefined();
  });
});
