// The names that Throughline uses against the registry of OpenTelemetry's semantic conventions, as the package that is
// generated from it has them; its version is pinned in package.json.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import * as registry from '@opentelemetry/semantic-conventions/incubating';
import { describe, expect, it } from 'vitest';
import { ATTR, RESOURCE_ANNOTATION_PREFIX } from '../../src/telemetry/attributes.js';
import { METRIC } from '../../src/telemetry/metric-names.js';
import { TASK_TYPES } from '../../src/telemetry/projection.js';
import { RESULTS } from '../../src/telemetry/results.js';

const dist = dirname(createRequire(import.meta.url).resolve('@opentelemetry/semantic-conventions'));
const entries: readonly (readonly [string, unknown])[] = Object.entries(registry);
const named = (prefix: string): Set<unknown> =>
  new Set(entries.filter(([name]) => name.startsWith(prefix)).map(([, value]) => value));
const attributes = named('ATTR_');
const metrics = named('METRIC_');

/** `ml.*` has no convention yet (DESIGN §5.5), and what is called after the project cannot have one. */
const isOwn = (name: string) => /^(?:ml|throughline)\./.test(name);

describe('the conventions’ registry', () => {
  it('is the version that the names were chosen from', () => {
    const { version } = JSON.parse(readFileSync(join(dist, '../package.json'), 'utf8'));
    expect(version).toBe('1.45.0');
  });

  it.each(Object.values(ATTR).filter((name) => !isOwn(name)))('has the attribute %s', (name) => {
    expect(attributes).toContain(name);
  });

  it('has none of the names that are the project’s own', () => {
    expect(Object.values(ATTR).filter((name) => isOwn(name) && attributes.has(name))).toEqual([]);
  });

  it.each(Object.values(METRIC).filter((name) => !isOwn(name)))('has the metric %s', (name) => {
    expect(metrics).toContain(name);
  });

  it('has the values of results and types', () => {
    const results = named('CICD_PIPELINE_RESULT_VALUE_');
    const ofTasks = named('CICD_PIPELINE_TASK_RUN_RESULT_VALUE_');
    for (const result of Object.values(RESULTS)) {
      expect(results).toContain(result);
      expect(ofTasks).toContain(result);
    }
    const types = named('CICD_PIPELINE_TASK_TYPE_VALUE_');
    for (const type of Object.values(TASK_TYPES)) expect(types).toContain(type);
    expect(named('CICD_PIPELINE_ACTION_NAME_VALUE_')).toContain('RUN');
    expect(named('CICD_PIPELINE_RUN_STATE_VALUE_')).toContain('executing');
  });

  it('calls none of them deprecated', () => {
    const text = readFileSync(join(dist, 'experimental_attributes.d.mts'), 'utf8');
    const deprecated = new Set(
      [...text.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*(?:export )?declare const ATTR_\w+: "([^"]+)"/g)]
        .filter(([, comment]) => comment?.includes('@deprecated'))
        .map(([, , name]) => name ?? ''),
    );
    expect(deprecated.size).toBeGreaterThan(50); // the text was understood
    expect(Object.values(ATTR).filter((name) => deprecated.has(name))).toEqual([]);
  });

  it('is what the OpenTelemetry operator’s annotations are named after', () => {
    expect(RESOURCE_ANNOTATION_PREFIX).toBe('resource.opentelemetry.io/');
  });
});
