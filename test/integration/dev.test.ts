// `throughline dev` and the commands around it, as a person starts them.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { temporalBinary } from '../../src/dev/temporal-binary.js';
import { startTemporalServer } from '../../src/dev/temporal-server.js';
import { cacheDirectory } from '../../src/worker/config.js';
import { git, MANIFEST, modelFiles, remote, repository, temporaryDirectory } from '../support/world.js';

const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));
const directory = temporaryDirectory('dev');
const data = join(directory, 'data');
const runs = join(directory, 'runs');
const environment = {
  ...process.env,
  THROUGHLINE_DATA: data,
  THROUGHLINE_HEARTBEAT_TIMEOUT: '2',
  THROUGHLINE_LOG_LEVEL: 'silent',
};
const running = new Set<ChildProcess>();

interface Dev {
  readonly child: ChildProcess;
  readonly gateway: string;
}

async function dev(...parameters: string[]): Promise<Dev> {
  const child = spawn(
    process.execPath,
    [CLI, 'dev', '--json', '--port', '0', '--temporal-port', '0', '--ui-port', '0', ...parameters],
    {
      env: environment,
      stdio: ['ignore', 'pipe', 'ignore'],
    },
  );
  running.add(child);
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('exit', (code) => reject(new Error(`dev ended with ${code}`)));
  });
  return { child, ...(JSON.parse(line) as { gateway: string }) };
}

async function stop({ child }: Dev, signal: NodeJS.Signals): Promise<number | null> {
  running.delete(child);
  const exited = new Promise<number | null>((resolve) => child.once('exit', resolve));
  child.kill(signal);
  return exited;
}

function cli(...parameters: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    execFile(process.execPath, [CLI, ...parameters], { env: environment }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === 'number' ? error.code : error ? -1 : 0, stdout, stderr });
    });
  });
}

const runCount = () => readFileSync(runs, 'utf8').split('\n').filter(Boolean).length;
let url: string;

beforeAll(() => {
  writeFileSync(runs, '');
  const gitops = remote(join(directory, 'gitops.git'), { 'k8s/deployment.yaml': MANIFEST });
  url = repository(join(directory, 'model'), modelFiles({ gitops, runs, parameters: { TICKS: 30 } }));
});
afterAll(() => {
  for (const child of running) child.kill('SIGKILL');
  rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
});

describe('throughline dev', () => {
  it('goes on where it stopped: after a clean stop, and after a kill, in the middle of a training', async () => {
    let current = await dev();
    const { stdout } = await cli('release', url, '--json');
    const { id } = JSON.parse(stdout) as { id: string };
    while (runCount() === 0) await sleep(100);
    // 1 says that something did not let go, and had to be left behind.
    expect(await stop(current, 'SIGTERM')).toBe(0);

    current = await dev();
    const again = await cli('release', url, '--json', '--key', 'second');
    const second = (JSON.parse(again.stdout) as { id: string }).id;
    while (runCount() === 1) await sleep(100);
    await stop(current, 'SIGKILL'); // its Temporal server is left behind, and taken care of by the next start

    current = await dev();
    const refused = await cli('dev', '--json');
    expect(refused.code).toBe(2);
    expect(JSON.parse(refused.stdout).error.code).toBe('TL_DATA_DIR_IN_USE');
    for (const release of [id, second]) {
      const waited = await cli('status', release, '--json');
      let record = JSON.parse(waited.stdout);
      while (!record.outcome) {
        await sleep(300);
        record = JSON.parse((await cli('status', release, '--json')).stdout);
      }
      expect(['SUCCEEDED', 'SUPERSEDED']).toContain(record.status);
    }
    expect(runCount()).toBe(2);
    const commits = git(
      join(directory, 'gitops.git'),
      'log',
      '--format=%(trailers:key=Release-Id,valueonly,separator=)',
    );
    expect(commits.split('\n').filter(Boolean).sort()).toEqual(
      [...new Set(commits.split('\n').filter(Boolean))].sort(),
    );
    expect(commits).toContain(second);

    const list = await cli('list', '--json');
    expect(JSON.parse(list.stdout).releases).toHaveLength(2);
    const text = await cli('list');
    expect(text.stdout).toMatch(/RELEASE +STATUS/);
    const unknown = await cli('status', 'rel-aaaaaaaaaaaaaaaaaaaa');
    expect(unknown.code).toBe(2);
    expect(unknown.stderr).toContain('TL_RELEASE_NOT_FOUND');
    const waiting = await cli(
      'release',
      url,
      '--wait',
      '--key',
      'third',
      '-p',
      'TICKS=1',
      '-p',
      'ACCURACY=0.2',
    );
    expect(waiting.code).toBe(3);
    expect(waiting.stdout).toContain('TL_METRIC_BELOW_GATE');
    expect(await stop(current, 'SIGINT')).toBe(0);
  });

  it('starts Temporal again where that loses a port to somebody else, and says so where it never serves', async () => {
    const real = await temporalBinary(cacheDirectory(), () => {});
    const once = join(directory, 'taken');
    const binary = join(directory, 'temporal');
    const taken = (when: string) =>
      `#!/bin/sh\nif ${when}; then echo bind: address already in use; touch ${once}; exit 1; fi\nexec ${real} "$@"\n`;
    const options = { binary, data: join(directory, 'ports'), port: 0, uiPort: 0 };
    writeFileSync(binary, taken(`test ! -e ${once}`), { mode: 0o755 });
    const server = await startTemporalServer(options);
    await server.stop();
    expect(existsSync(once)).toBe(true);
    writeFileSync(binary, taken('true'));
    await expect(startTemporalServer(options)).rejects.toMatchObject({
      problem: { code: 'TL_TEMPORAL_UNAVAILABLE', found: expect.stringContaining('address already in use') },
    });
  });
});

describe('the command line', () => {
  it('validates plans, and prints their schema', async () => {
    const model = join(directory, 'model');
    expect((await cli('validate', model)).stdout).toContain('is valid');
    writeFileSync(
      join(model, 'broken.yaml'),
      `${readFileSync(join(model, 'throughline.yaml'), 'utf8')}epochs: 3\n`,
    );
    const broken = await cli('validate', join(model, 'broken.yaml'));
    expect(broken.code).toBe(2);
    expect(broken.stderr).toMatch(/broken\.yaml:\d+:\d+: Unknown key "epochs".*\[TL_PLAN_INVALID\]/);
    expect((await cli('validate', '/nowhere', '--json')).stdout).toContain('TL_PLAN_NOT_FOUND');
    expect(JSON.parse((await cli('schema')).stdout).title).toBe('Throughline release plan');
  });

  it('says what is wrong, without a stack trace', async () => {
    for (const [code, ...parameters] of [
      ['TL_REPOSITORY_INVALID', 'release', 'ext::sh'],
      ['TL_REQUEST_INVALID', 'release', url, '-p', 'nonsense'],
      ['TL_TRACEPARENT_INVALID', 'release', url, '--traceparent', 'hello'],
      ['TL_TEMPORAL_UNAVAILABLE', 'list', '--address', '127.0.0.1:9'],
      ['TL_TEMPORAL_UNAVAILABLE', 'drift', 'check', '--address', '127.0.0.1:9'],
      ['TL_CONFIG_INVALID', 'verify', 'a.example/b@c', '--identity', 'somebody'],
      ['TL_CONFIG_INVALID', 'gateway', '--listen', 'nowhere'],
    ] as [string, ...string[]][]) {
      const { code: exit, stderr } = await cli(...parameters);
      expect(exit, parameters.join(' ')).toBeGreaterThan(0);
      expect(stderr).toContain(code);
      expect(stderr).not.toMatch(/^\s+at /m);
    }
    expect((await cli('nonsense')).code).toBe(2);
  });
});
