// Detached tasks: they start once, outlive everybody, and are stopped whole. Each test kills what it must survive.
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  cancelTask,
  readLog,
  startTask,
  type TaskSpec,
  taskStatus,
  waitForTask,
} from '../../src/processes/index.js';
import { liveOwner } from '../../src/processes/ownership.js';
import { temporaryDirectory } from '../support/world.js';

let directory: string;
let task: string;
let runs: string;
const forever = new AbortController().signal;

beforeEach(() => {
  directory = temporaryDirectory('processes');
  task = join(directory, 'task');
  runs = join(directory, 'runs');
  writeFileSync(runs, '');
});
afterEach(async () => {
  await cancelTask(task, forever);
  rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
});

function spec(script: string, more: Partial<TaskSpec> = {}): TaskSpec {
  return {
    command: ['sh', '-c', `echo run >> ${runs}; ${script}`],
    cwd: directory,
    env: { PATH: process.env.PATH ?? '' },
    attemptPaths: {},
    attemptDirectories: [],
    expandReferences: false,
    attempts: 1,
    backoffSeconds: 0,
    graceSeconds: 1,
    ...more,
  };
}

const runCount = () => readFileSync(runs, 'utf8').split('\n').filter(Boolean).length;

async function started(): Promise<number> {
  for (let waited = 0; waited < 10_000; waited += 20) {
    if (runCount() > 0) {
      const owner = await liveOwner(task);
      if (owner) return owner.pid;
    }
    await sleep(20);
  }
  throw new Error('the task does not start');
}

describe('a detached task', () => {
  it('runs once, however many start it at the same time', async () => {
    await Promise.all(Array.from({ length: 20 }, () => startTask(task, spec('sleep 0.3'))));
    expect((await waitForTask(task, forever)).state).toBe('succeeded');
    await startTask(task, spec('sleep 0.3'));
    expect(runCount()).toBe(1);
  });

  it('keeps its exit code when its supervisor is killed, before and after the command ends', async () => {
    await startTask(task, spec('sleep 1; exit 7'));
    process.kill(await started(), 'SIGKILL');
    await sleep(1500); // the command ends while nobody watches
    const status = await waitForTask(task, forever);
    expect(status).toMatchObject({ state: 'failed', attempts: [{ number: 1, exitCode: 7 }] });
    expect(runCount()).toBe(1);
  });

  it('is adopted while it runs, again and again', async () => {
    await startTask(task, spec('sleep 2'));
    for (let kill = 0; kill < 5; kill += 1) {
      process.kill(await started(), 'SIGKILL');
      await startTask(task, spec('sleep 2'));
    }
    expect((await waitForTask(task, forever)).state).toBe('succeeded');
    expect(runCount()).toBe(1);
  });

  it('runs again as often as it may, and says how it ended each time', async () => {
    await startTask(task, spec('exit 3', { attempts: 3 }));
    const status = await waitForTask(task, forever);
    expect(status.state).toBe('failed');
    expect(status.attempts.map(({ exitCode }) => exitCode)).toEqual([3, 3, 3]);
  });

  it('is stopped with every process of its group, those that ignore SIGTERM too', async () => {
    await startTask(task, spec('trap "" TERM; sleep 300 & while true; do sleep 300; done'));
    await started();
    const leader = Number.parseInt(readFileSync(join(task, 'attempts/1/claim/pid'), 'utf8'), 10);
    expect((await cancelTask(task, forever)).state).toBe('canceled');
    expect(() => process.kill(-leader, 0)).toThrow(/ESRCH/);
  });

  it('gets SIGTERM and its grace before SIGKILL', async () => {
    await startTask(
      task,
      spec(`trap 'echo bye; exit 0' TERM; echo ready; while true; do sleep 0.1; done`, { graceSeconds: 10 }),
    );
    await started();
    await sleep(200);
    const begun = Date.now();
    expect((await cancelTask(task, forever)).state).toBe('canceled');
    expect(Date.now() - begun).toBeLessThan(8000);
    expect((await readLog(join(task, 'attempts/1/log'), 0, 1000)).text).toContain('bye');
  });

  it('cannot start any more once it was canceled, even before it was started', async () => {
    await cancelTask(task, forever);
    await startTask(task, spec('true'));
    expect((await taskStatus(task))?.state).toBe('canceled');
    expect(runCount()).toBe(0);
  });

  it('is stopped at its deadline, counted from its first start', async () => {
    await startTask(task, spec('sleep 300', { deadlineSeconds: 1, attempts: 5 }));
    expect((await waitForTask(task, forever)).state).toBe('deadline');
    expect(runCount()).toBe(1);
  });

  it('leaves nothing behind that its command started in the background', async () => {
    await startTask(task, spec('sleep 300 & echo done'));
    await waitForTask(task, forever);
    const leader = Number.parseInt(readFileSync(join(task, 'attempts/1/claim/pid'), 'utf8'), 10);
    expect(() => process.kill(-leader, 0)).toThrow(/ESRCH/);
  });

  it('is not taken for lost when the kernel forgets what it knew of it', async () => {
    await startTask(task, spec('sleep 2'));
    process.kill(await started(), 'SIGKILL');
    // A process's files in /proc get new times when they are looked up anew; only its start time stays.
    await writeFile('/proc/sys/vm/drop_caches', '2').catch(() => undefined); // root only
    expect((await waitForTask(task, forever)).state).toBe('succeeded');
    expect(runCount()).toBe(1);
  });

  it('says that a program is not there', async () => {
    await startTask(task, spec('', { command: ['no-such-program'] }));
    expect((await waitForTask(task, forever)).attempts[0]?.exitCode).toBe(127);
  });

  it('gets no variable of the process that started it (I9)', async () => {
    process.env.THROUGHLINE_TEST_SECRET = 'hunter2';
    await startTask(task, spec('env'));
    await waitForTask(task, forever);
    delete process.env.THROUGHLINE_TEST_SECRET;
    expect((await readLog(join(task, 'attempts/1/log'), 0, 10_000)).text).not.toContain('hunter2');
    expect(readdirSync(task)).toContain('status.json');
  });

  it('has a log that is read in whole characters', async () => {
    await startTask(task, spec(`printf 'äöü€😀%.0s' 1 2 3`));
    await waitForTask(task, forever);
    const path = join(task, 'attempts/1/log');
    let text = '';
    for (let from = 0, size = 1; from < size; ) {
      const page = await readLog(path, from, 5);
      text += page.text;
      from = page.next;
      size = page.size;
    }
    expect(text).toBe('äöü€😀äöü€😀äöü€😀');
  });
});
