// From a request to what the release works with: the commit behind the ref, the plan at that commit, its parameters.
import { ThroughlineError } from '../../domain/errors.js';
import type { ReleaseRequest } from '../../domain/release.js';
import { redact } from '../../domain/urls.js';
import { Mirror } from '../../git/index.js';
import { loadPlan, type Plan, trainingContainer } from '../../plan/index.js';
import { type Allowed, checkScope, checkTrigger, planViolations } from '../../policy/index.js';
import type { PreparedRelease, WorkerSettings } from '../index.js';

/** Where a model's repository is read. */
export interface ReleaseSource {
  /** Resolves the ref, and loads and checks the plan there. Throws what a person has to correct. Changes nothing. */
  prepare(
    request: ReleaseRequest,
    settings: WorkerSettings,
    options: { readonly signal: AbortSignal; readonly report: (doing: string) => void },
  ): Promise<PreparedRelease>;
}

export interface SourceOptions {
  /** What the operator lets releases reach. */
  readonly allow: Allowed;
  /** Where Jobs go whose manifest names no namespace. */
  readonly defaultNamespace?: string | undefined;
}

export const gitSource = (cache: string, options: SourceOptions): ReleaseSource => ({
  async prepare(request, settings, { signal, report }) {
    checkTrigger(options.allow, request);
    report(`fetching ${redact(request.repository)}`);
    const mirror = await Mirror.open(cache, request.repository);
    return prepareRelease(request, settings, mirror, options, signal);
  },
});

async function prepareRelease(
  request: ReleaseRequest,
  settings: WorkerSettings,
  mirror: Mirror,
  { allow, defaultNamespace }: SourceOptions,
  signal: AbortSignal,
): Promise<PreparedRelease> {
  const { commit, type } = await mirror.fetchRef(request.ref, signal);
  const whole = await loadPlan(mirror.files(commit), request.planPath, (plan, job) =>
    planViolations(allow, plan, job, defaultNamespace),
  );
  const loaded = request.rollback ? { ...whole, plan: rolledBack(whole.plan, request.rollback) } : whole;
  checkScope(request.within, loaded.plan);
  const declared = loaded.plan.train.parameters;
  const unknown = Object.keys(request.parameters).filter((name) => !Object.hasOwn(declared, name));
  if (unknown.length > 0) {
    throw new ThroughlineError(
      'TL_PARAMETER_UNKNOWN',
      `The trigger sets ${unknown.join(', ')}, which the plan does not declare`,
      {
        expected: `some of: ${Object.keys(declared).join(', ') || '(the plan declares none)'}`,
        where: { file: request.planPath },
      },
    );
  }
  const trainerImage = trainingContainer(loaded.job).image;
  const parameters = { ...declared, ...request.parameters };
  const source = request.rollback?.made.commit ?? commit;
  return { commit: source, refType: type, ...loaded, trainerImage, parameters, settings };
}

/** The plan of what is deployed says where; what is brought back says what of. */
function rolledBack(plan: Plan, { environment, made }: NonNullable<ReleaseRequest['rollback']>): Plan {
  const { name, version } = made.dataset;
  const deploy = plan.deploy.filter((target) => target.environment === environment);
  if (deploy.length === 0) {
    throw new ThroughlineError(
      'TL_ROLLBACK_IMPOSSIBLE',
      `The plan has no environment ${environment} any more`,
      {
        found: `environments: ${plan.deploy.map((target) => target.environment).join(', ')}`,
      },
    );
  }
  return { ...plan, train: { ...plan.train, dataset: { name, version } }, deploy };
}
