// Loading a plan: read it, hold it to the schema, and check what it names, before anything runs.
import { posix } from 'node:path';
import type { z } from 'zod';
import { type Problem, ThroughlineError } from '../domain/errors.js';
import { redact } from '../domain/urls.js';
import { normalizePath, type SourceFiles } from './files.js';
import { type JobManifest, readJobManifest } from './job.js';
import { type Plan, planSchema } from './schema.js';
import { MAX_JOB_BYTES, MAX_PLAN_BYTES, readYaml, type YamlDocument } from './yaml.js';

export const DEFAULT_PLAN_PATH = 'throughline.yaml';

/** A plan whose files were found and checked. Paths are relative to the root of the tree. */
export interface LoadedPlan {
  readonly plan: Plan;
  readonly job: JobManifest;
  /** Where that stands. */
  readonly jobPath: string;
  /** The trainer's directory: the context of its image, or that of the Job's manifest. */
  readonly trainingContext: string;
  readonly buildContext: string;
  /** The Jobs of `verify`, each manifest once; absent where there are none. */
  readonly verifyJobs?: readonly VerifyJob[];
}

/** A Job that checks deployments. */
export interface VerifyJob {
  /** As the plan names it. */
  readonly manifest: string;
  /** Where that is, from the root of the tree. */
  readonly path: string;
  readonly job: JobManifest;
}

/** Something in a plan, or in its Job's manifest, that reaches beyond what is allowed. */
export interface PlanViolation {
  readonly file: 'plan' | 'job';
  readonly path: readonly (string | number)[];
  readonly problem: Pick<Problem, 'message' | 'expected' | 'hint'>;
}

/** Who says what plans may reach. */
export type PlanCheck = (plan: Plan, job: JobManifest) => readonly PlanViolation[];

/** Loads and checks the plan at `planPath`. Throws a {@link ThroughlineError} that names file, line and column. */
export async function loadPlan(
  files: SourceFiles,
  planPath: string,
  check: PlanCheck = () => [],
): Promise<LoadedPlan> {
  const path = normalizePath(planPath);
  if ((await files.kind(path)) !== 'file') {
    throw new ThroughlineError('TL_PLAN_NOT_FOUND', `There is no plan at ${path}`, {
      expected: 'a file of kind ReleasePlan',
    });
  }
  const { plan, document } = parsePlan(await files.read(path, MAX_PLAN_BYTES), path);
  const root = posix.dirname(path);

  const named = async (
    at: readonly string[],
    relative: string,
    wanted: 'file' | 'directory',
    base = root,
  ) => {
    const full = normalizePath(posix.join(base, relative));
    const found = full === '.' ? 'directory' : await located(document, at, () => files.kind(full));
    if (found !== wanted) {
      throw new ThroughlineError(
        'TL_FILE_NOT_FOUND',
        `${at.join('.')} names ${full}, which is no ${wanted}`,
        {
          expected: `a ${wanted} at ${full}`,
          found: found ? `a ${found}` : 'nothing',
          where: document.locate(at),
        },
      );
    }
    return full;
  };

  const jobPath = await named(['train', 'job'], plan.train.job, 'file');
  const { job, document: manifest } = readJobManifest(await files.read(jobPath, MAX_JOB_BYTES), jobPath);
  let trainingContext = posix.dirname(jobPath);
  if (plan.train.build) {
    const { context, dockerfile, image } = plan.train.build;
    trainingContext = await named(['train', 'build', 'context'], context, 'directory');
    await named(['train', 'build', 'dockerfile'], dockerfile, 'file', trainingContext);
    if (image === plan.build.image) {
      throw new ThroughlineError('TL_PLAN_INVALID', 'The trainer’s image and the model’s have one name', {
        expected: 'two names: both are tagged with the release',
        found: image,
        where: document.locate(['train', 'build', 'image']),
      });
    }
  }
  const buildContext = await named(['build', 'context'], plan.build.context, 'directory');
  await named(['build', 'dockerfile'], plan.build.dockerfile, 'file', buildContext);
  const refused = ({ file: where, path: at, problem }: PlanViolation, of: YamlDocument): Problem => ({
    code: 'TL_NOT_ALLOWED',
    ...problem,
    where: (where === 'plan' ? document : of).locate(at),
  });
  const violations = check(plan, job).map((one) => refused(one, manifest));
  const verifyJobs = new Map<string, VerifyJob>();
  for (const [index, { verify = [] }] of plan.deploy.entries()) {
    for (const [place, { job: checks }] of verify.entries()) {
      if (!checks || verifyJobs.has(checks.manifest)) continue;
      const at = ['deploy', String(index), 'verify', String(place), 'job', 'manifest'];
      const found = await named(at, checks.manifest, 'file');
      const read = readJobManifest(await files.read(found, MAX_JOB_BYTES), found);
      verifyJobs.set(checks.manifest, { manifest: checks.manifest, path: found, job: read.job });
      const own = check(plan, read.job).filter(({ file }) => file === 'job'); // the plan's own are said above
      violations.push(...own.map((one) => refused(one, read.document)));
    }
  }
  const [violation, ...others] = violations;
  if (violation) {
    throw ThroughlineError.from({
      ...violation,
      ...(others.length > 0 ? { also: others.slice(0, 20) } : {}),
    });
  }
  return {
    plan,
    job,
    jobPath,
    trainingContext,
    buildContext,
    ...(verifyJobs.size > 0 ? { verifyJobs: [...verifyJobs.values()] } : {}),
  };
}

/** Adds the place in the plan to an error about a path that the plan names. */
async function located<T>(document: YamlDocument, at: readonly string[], read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ThroughlineError && !error.problem.where) {
      throw ThroughlineError.from({ ...error.problem, where: document.locate(at) });
    }
    throw error;
  }
}

/** Holds a plan's text to the schema. */
export function parsePlan(text: string, file: string): { plan: Plan; document: YamlDocument } {
  const documents = readYaml(text, file, 'TL_PLAN_INVALID').documents;
  const [document] = documents;
  if (!document || documents.length > 1) {
    throw new ThroughlineError('TL_PLAN_INVALID', 'A plan is exactly one YAML document', {
      expected: 'one document of kind ReleasePlan',
      found: `${documents.length} documents`,
      where: { file },
    });
  }
  const parsed = planSchema.safeParse(document.value);
  if (parsed.success) return { plan: parsed.data, document };
  const [first, ...also] = parsed.error.issues.flatMap((issue) => describe(issue, document));
  throw ThroughlineError.from({
    ...(first ?? { code: 'TL_PLAN_INVALID', message: 'The plan is not valid' }),
    ...(also.length > 0 ? { also } : {}),
  });
}

function describe(issue: z.core.$ZodIssue, document: YamlDocument): Problem[] {
  const at = issue.path.length > 0 ? issue.path.join('.') : 'the plan';
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => ({
      code: 'TL_PLAN_INVALID',
      message: `Unknown key ${JSON.stringify(key)} in ${at}`,
      expected: 'only keys of the schema (`throughline schema`)',
      where: document.locateKey(issue.path, key),
    }));
  }
  const value = valueAt(document.value, issue.path);
  const missing = value === undefined;
  return [
    {
      code: 'TL_PLAN_INVALID',
      message: missing ? `${at} is missing` : `${at} is not valid`,
      expected: expectation(issue),
      found: missing ? undefined : shorten(value),
      where:
        issue.code === 'invalid_key'
          ? document.locateKey(issue.path.slice(0, -1), String(issue.path.at(-1)))
          : document.locate(issue.path),
    },
  ];
}

function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === 'invalid_type' && !issue.message.startsWith('expected ')) return issue.expected;
  if (issue.code === 'invalid_value') return issue.values.map((value) => JSON.stringify(value)).join(' or ');
  if (issue.code === 'invalid_key')
    return issue.issues[0]?.message.replace(/^expected /, '') ?? issue.message;
  return issue.message.replace(/^expected /, '');
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== 'object' || current === null) return undefined;
    current = (current as Record<PropertyKey, unknown>)[step];
  }
  return current;
}

function shorten(value: unknown): string {
  const text = redact(JSON.stringify(value) ?? String(value));
  return text.length > 120 ? `${text.slice(0, 117)}…` : text;
}
