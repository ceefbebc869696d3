// The JobRunner of one machine: the Job's container command runs as a detached process (processes/), in a checkout of
// the commit, with the contract's environment. A killed worker changes nothing for it: the next attempt finds the task
// by the Job's name, running or finished (I2).
import { constants } from 'node:fs';
import { access, cp, mkdir, rename, rm, stat } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ThroughlineError } from '../../domain/errors.js';
import { type Digest, isDigest } from '../../domain/ids.js';
import type { TrainedModel } from '../../domain/release.js';
import { Mirror } from '../../git/index.js';
import { DEFAULT_BACKOFF_LIMIT, type JobManifest, trainingContainer } from '../../plan/index.js';
import {
  cancelTask,
  exists,
  inheritedEnvironment,
  lastAttempt,
  readLog,
  readText,
  startTask,
  type TaskSpec,
  type TaskStatus,
  taskStatus,
  waitForTask,
} from '../../processes/index.js';
import { processObservations } from '../../telemetry/observations.js';
import { manifestOf } from '../source/manifest.js';
import { contractEnvironment } from './contract.js';
import { digestDirectory } from './model-digest.js';
import { MAX_RESULT_BYTES, parseResultFile, parseResultLog, type TrainingReport } from './result.js';
import {
  type CompletedJob,
  type JobPlacement,
  type JobRunner,
  type LogPage,
  type Memory,
  programOf,
  type RunOptions,
  type TrainingJob,
} from './runner.js';

const RESULT_FILE = 'result.json';
/** The model lies one level down, so that the directory above is the build context `model` with `/model` in it. */
const MODEL_DIRECTORY = join('output', 'model');
const LOG_TAIL_BYTES = 4096;
/** Kubernetes' default for `terminationGracePeriodSeconds`. */
const DEFAULT_GRACE_SECONDS = 30;

export interface LocalRunnerOptions {
  /** Everything lies below this directory. */
  readonly data: string;
  /** `OTEL_*` settings for workloads. */
  readonly workloadTelemetry: Readonly<Record<string, string>>;
  /** Pause before the first repetition; Kubernetes' is 10 s. */
  readonly backoffSeconds: number;
}

export class LocalJobRunner implements JobRunner {
  constructor(private readonly options: LocalRunnerOptions) {}

  async check(manifest: JobManifest): Promise<JobPlacement> {
    const container = trainingContainer(manifest);
    const { spec } = manifest.spec.template;
    const unsupported: [boolean, string][] = [
      [
        container.command === undefined,
        'a container without `command`: what its image would run is not known here',
      ],
      [spec.containers.length > 1, 'several containers'],
      [(spec.initContainers?.length ?? 0) > 0, 'init containers'],
      [
        (manifest.spec.completions ?? 1) !== 1 || (manifest.spec.parallelism ?? 1) !== 1,
        'several completions',
      ],
      [(container.envFrom?.length ?? 0) > 0, 'envFrom'],
      [container.env?.some(({ valueFrom }) => valueFrom !== undefined) ?? false, 'env with valueFrom'],
    ];
    const found = unsupported.filter(([is]) => is).map(([, what]) => what);
    if (found.length > 0) {
      throw new ThroughlineError('TL_JOB_UNSUPPORTED', 'The local runtime cannot run this Job', {
        expected: 'one container with a command and plain environment variables',
        found: found.join('; '),
      });
    }
    const program = container.command?.[0] ?? '';
    if (!program.includes('/') && !(await isOnPath(program))) {
      throw new ThroughlineError('TL_TOOL_MISSING', `The Job runs ${program}, which is not installed here`, {
        expected: `${program} on the worker's PATH`,
        hint: `Install ${program} (for Python: a virtual environment with the training's requirements) and start the worker with it on PATH, or use the kubernetes runtime.`,
      });
    }
    return {};
  }

  async run(job: TrainingJob, options: RunOptions & Memory): Promise<TrainedModel> {
    const status = await this.ended(job, options);
    return this.collect(this.task(job.name), job, status);
  }

  async complete(job: TrainingJob, options: RunOptions & Memory): Promise<CompletedJob> {
    const status = await this.ended(job, options);
    await this.succeeded(this.task(job.name), job, status);
    return { attempts: status.attempts.length };
  }

  /** Starts the task or adopts it, and waits for its end. */
  private async ended(
    job: TrainingJob,
    { signal, report, observe }: RunOptions & Memory,
  ): Promise<TaskStatus> {
    const task = this.task(job.name);
    if (!(await taskStatus(task))) {
      report('checking out the program');
      const cache = join(this.options.data, 'git');
      const manifest = await manifestOf(job, cache, signal);
      const mirror = await Mirror.open(cache, job.repository);
      const source = join(task, 'source');
      if (!(await exists(source))) {
        await mirror.fetchRef(job.commit, signal);
        await mirror.checkout(job.commit, source, signal);
      }
      await startTask(task, this.taskSpec({ ...job, manifest }, join(source, job.context)));
    }
    const progress = reportProgress(task, job.verifies === undefined ? 'training' : 'checking', report);
    try {
      const status = await waitForTask(task, signal);
      observe(...processObservations(job.name, status.attempts));
      return status;
    } finally {
      progress.stop();
    }
  }

  /** What a finished task left is this machine's own: nobody else removes it. */
  async settle(): Promise<void> {}

  async stop(name: string, { signal, report }: RunOptions): Promise<void> {
    report(`stopping ${name}`);
    await cancelTask(this.task(name), signal);
  }

  async log(name: string, from: string | undefined, bytes: number): Promise<LogPage> {
    const task = this.task(name);
    const ended = (await taskStatus(task)) !== undefined;
    const last = await lastAttempt(task);
    if (!last) return { text: '', next: from ?? '', complete: ended };
    const [attempt, offset] = (from ?? '').split(':').map(Number);
    // A page never spans attempts: what follows an earlier attempt's log is the next one's, from its beginning.
    const number = attempt && attempt <= last.number ? attempt : last.number;
    const path = last.log.replace(/\/(\d+)\/log$/, `/${number}/log`);
    const page = await readLog(path, attempt ? (offset ?? 0) : -bytes, bytes);
    const exhausted = page.next >= page.size;
    if (exhausted && number < last.number)
      return { text: page.text, next: `${number + 1}:0`, complete: false };
    return { text: page.text, next: `${number}:${page.next}`, complete: ended && exhausted };
  }

  private task(name: string): string {
    return join(this.options.data, 'jobs', name);
  }

  private taskSpec(job: TrainingJob, cwd: string): TaskSpec {
    const container = trainingContainer(job.manifest);
    const { spec } = job.manifest;
    const own = Object.fromEntries((container.env ?? []).map(({ name, value }) => [name, value ?? '']));
    return {
      command: [...(container.command ?? []), ...(container.args ?? [])],
      cwd,
      env: {
        ...machineEnvironment(),
        ...this.options.workloadTelemetry,
        ...own,
        ...contractEnvironment(job),
      },
      attemptPaths: { MODEL_OUTPUT: MODEL_DIRECTORY, RESULT_FILE },
      attemptDirectories: [MODEL_DIRECTORY],
      expandReferences: true,
      attempts: (spec.backoffLimit ?? DEFAULT_BACKOFF_LIMIT) + 1,
      backoffSeconds: this.options.backoffSeconds,
      deadlineSeconds: Math.min(spec.activeDeadlineSeconds ?? Number.POSITIVE_INFINITY, job.timeout),
      graceSeconds: spec.template.spec.terminationGracePeriodSeconds ?? DEFAULT_GRACE_SECONDS,
    };
  }

  /** Turns a finished task into the training's result. Deterministic: every attempt that asks gets the same. */
  private async collect(task: string, job: TrainingJob, status: TaskStatus): Promise<TrainedModel> {
    const { last, attempt, tail } = await this.succeeded(task, job, status);
    const report = await this.readReport(attempt.directory, attempt.log);
    if (!report) {
      throw new ThroughlineError(
        'TL_RESULT_MISSING',
        `The training program of ${job.model} reported no result`,
        {
          expected: 'JSON in the file RESULT_FILE, or a line MODEL_ID=… in the log',
          found: `an empty RESULT_FILE, and a log that ends with:\n${tail || '(nothing)'}`,
        },
      );
    }
    const handedOver = await this.keepModel(join(attempt.directory, 'output'), report);
    return {
      id: report.modelId,
      uri: handedOver.uri,
      digest: handedOver.digest,
      metrics: report.metrics,
      datasetDigest: report.datasetDigest,
      job: job.name,
      attempts: status.attempts.length,
      startedAt: status.attempts[0]?.startedAt ?? last.startedAt,
      endedAt: last.endedAt ?? last.startedAt,
    };
  }

  /** What a task left that has succeeded. Throws how it ended otherwise. */
  private async succeeded(task: string, job: TrainingJob, status: TaskStatus) {
    const last = status.attempts.at(-1);
    const attempt = await lastAttempt(task);
    await rm(join(task, 'source'), { recursive: true, force: true }); // it can be had again from git
    const tail = attempt ? (await readLog(attempt.log, -LOG_TAIL_BYTES, LOG_TAIL_BYTES)).text.trimEnd() : '';
    if (status.state !== 'succeeded' || !last || !attempt) throw failureOf(job, status, tail);
    return { last, attempt, tail };
  }

  private async readReport(directory: string, log: string): Promise<TrainingReport | undefined> {
    const path = join(directory, RESULT_FILE);
    const size = await stat(path).then(
      (file) => file.size,
      () => 0,
    );
    // One byte more than is kept tells "too long" from "just fits", and a program cannot fill the memory.
    const text =
      size > MAX_RESULT_BYTES ? (await readLog(path, 0, MAX_RESULT_BYTES + 1)).text : await readText(path);
    const report = parseResultFile(text ?? '');
    if (report) return report;
    return parseResultLog((await readLog(log, -1024 * 1024, 1024 * 1024)).text);
  }

  /** Moves the model to where builds find it, by digest. What the program left elsewhere on this machine is copied. */
  private async keepModel(output: string, report: TrainingReport): Promise<{ uri: string; digest: Digest }> {
    const models = join(this.options.data, 'models');
    const produced = (await exists(output)) ? await digestDirectory(join(output, 'model')) : undefined;
    if (produced) return { digest: produced, uri: await keep(output, models, produced) };

    const elsewhere = localPath(report.modelUri);
    if (elsewhere && (await exists(elsewhere))) {
      const staged = join(output, 'model');
      const isDirectory = (await stat(elsewhere)).isDirectory();
      await mkdir(staged, { recursive: true });
      await cp(elsewhere, isDirectory ? staged : join(staged, elsewhere.split('/').at(-1) ?? 'model'), {
        recursive: true,
      });
      const digest = await digestDirectory(staged);
      if (digest) return { digest, uri: await keep(output, models, digest) };
    }
    if (report.modelUri && !elsewhere && isDigest(report.modelDigest)) {
      return { digest: report.modelDigest, uri: report.modelUri };
    }
    throw new ThroughlineError(
      'TL_MODEL_MISSING',
      `The training program reported ${report.modelId} but left no model`,
      {
        expected: 'files below MODEL_OUTPUT, or the uri and digest of a model that it pushed itself',
        found: report.modelUri
          ? `uri ${report.modelUri}, digest ${report.modelDigest ?? 'none'}`
          : 'no file and no uri',
      },
    );
  }
}

/** What a program of this machine needs to run at all. Nothing else of the worker's environment reaches it (I9). */
function machineEnvironment(): Record<string, string> {
  const names = [
    'PATH',
    'HOME',
    'USER',
    'LANG',
    'LC_ALL',
    'TZ',
    'TMPDIR',
    'LD_LIBRARY_PATH',
    'SSL_CERT_FILE',
  ];
  return inheritedEnvironment(names);
}

function failureOf(job: TrainingJob, status: TaskStatus, tail: string): ThroughlineError {
  const runs = `${status.attempts.length} ${status.attempts.length === 1 ? 'run' : 'runs'}`;
  if (status.state === 'deadline') {
    return new ThroughlineError('TL_TRAINING_TIMEOUT', `${programOf(job)} did not end in time`, {
      expected: `an end within ${Math.min(job.manifest.spec.activeDeadlineSeconds ?? Number.POSITIVE_INFINITY, job.timeout)} s`,
      found: `still running in ${runs}; end of its log:\n${tail || '(nothing)'}`,
    });
  }
  const code = status.attempts.at(-1)?.exitCode;
  const how =
    status.state === 'canceled'
      ? 'was stopped'
      : code === undefined
        ? 'was killed'
        : `ended with exit code ${code}`;
  return new ThroughlineError('TL_TRAINING_FAILED', `${programOf(job)} ${how} after ${runs}`, {
    expected: 'exit code 0',
    found: `end of its log:\n${tail || '(nothing)'}`,
  });
}

/** Puts a directory under its digest; done before counts as done. Returns its URI. */
async function keep(output: string, models: string, digest: Digest): Promise<string> {
  const target = join(models, digest.replace(':', '-'));
  if (!(await exists(target))) {
    await mkdir(models, { recursive: true });
    const temporary = `${target}.${process.pid}.${Math.random().toString(36).slice(2)}`;
    try {
      await cp(output, temporary, { recursive: true });
      await rename(temporary, target);
    } catch (error) {
      if (!(await exists(target))) throw error;
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  }
  return `file://${target}`;
}

function localPath(uri: string | undefined): string | undefined {
  if (uri === undefined) return undefined;
  if (uri.startsWith('/')) return uri;
  if (!uri.startsWith('file://')) return undefined;
  try {
    return fileURLToPath(uri);
  } catch {
    return undefined;
  }
}

function reportProgress(
  task: string,
  doing: 'training' | 'checking',
  report: (doing: string) => void,
): { stop(): void } {
  const stopped = new AbortController();
  const loop = async () => {
    for (;;) {
      const last = await lastAttempt(task);
      report(last ? `${doing}, process ${last.number}${await lastLine(last.log)}` : 'starting the process');
      await sleep(500, undefined, { signal: stopped.signal });
    }
  };
  loop().catch(() => undefined); // ends when stopped; a log that cannot be read is no reason to fail
  return { stop: () => stopped.abort() };
}

async function lastLine(log: string): Promise<string> {
  const line = (await readLog(log, -512, 512)).text.trimEnd().split('\n').at(-1)?.trim();
  return line ? `: ${line.slice(0, 120)}` : '';
}

async function isOnPath(program: string): Promise<boolean> {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    if (
      await access(join(directory, program), constants.X_OK).then(
        () => true,
        () => false,
      )
    )
      return true;
  }
  return false;
}
