// The gate: a model's metrics against the plan's rules. Pure.
import type { Problem } from '../domain/errors.js';
import type { TrainedModel } from '../domain/release.js';
import type { AcceptanceRule } from '../plan/schema.js';

/** The first rule that the metrics do not meet; undefined where they meet all. */
export function judge(
  metrics: TrainedModel['metrics'],
  rules: readonly AcceptanceRule[],
): Problem | undefined {
  for (const rule of rules) {
    const problem = judgeRule(metrics, rule);
    if (problem) return problem;
  }
  return undefined;
}

/** What a rule asks for, in words: `at least 0.95`. */
export function ruleText({ atLeast, atMost }: AcceptanceRule): string {
  return [atLeast === undefined ? [] : `at least ${atLeast}`, atMost === undefined ? [] : `at most ${atMost}`]
    .flat()
    .join(' and ');
}

function judgeRule(metrics: TrainedModel['metrics'], rule: AcceptanceRule): Problem | undefined {
  const { metric, atLeast, atMost } = rule;
  const expected = ruleText(rule);
  const value = Object.hasOwn(metrics, metric) ? metrics[metric] : undefined;
  if (value === undefined) {
    return {
      code: 'TL_METRIC_MISSING',
      message: `The gate names the metric ${metric}, which the training did not report`,
      expected: `${metric} ${expected}`,
      found: `metrics: ${Object.keys(metrics).join(', ') || 'none'}`,
    };
  }
  if (typeof value !== 'number') {
    return {
      code: 'TL_METRIC_NOT_FINITE',
      message: `The metric ${metric} is ${value}`,
      expected: `${metric} ${expected}`,
      found: String(value),
    };
  }
  // Written so that anything which is not a number that meets the rule is refused.
  const meets = (atLeast === undefined || value >= atLeast) && (atMost === undefined || value <= atMost);
  return meets
    ? undefined
    : {
        code: 'TL_METRIC_BELOW_GATE',
        message: `The metric ${metric} does not meet the gate`,
        expected: `${metric} ${expected}`,
        found: String(value),
      };
}
