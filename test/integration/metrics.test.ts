// What worker and gateway say of themselves on their Prometheus endpoints, after releases of every kind.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parser } from '@prometheus-io/lezer-promql';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { freePort } from '../../src/dev/ports.js';
import { TRAIN, World } from '../support/world.js';

const CLI = fileURLToPath(new URL('../../bin/throughline.js', import.meta.url));

let world: World;
let scraped = '';
const ids: string[] = [];

beforeAll(async () => {
  world = await World.start('metrics');
  const [worker, gateway] = [await freePort(0), await freePort(0)];
  const exporting = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort(0)}` }; // nobody is there
  const workerEnv = { ...exporting, THROUGHLINE_METRICS_ADDRESS: `127.0.0.1:${worker}` };
  const first = await world.worker(workerEnv);
  const listen = await freePort(0);
  void world
    .process(process.execPath, [CLI, 'gateway'], {
      THROUGHLINE_LISTEN: `127.0.0.1:${listen}`,
      THROUGHLINE_METRICS_ADDRESS: `127.0.0.1:${gateway}`,
    })
    .catch(() => undefined); // it says "gateway started"
  const { body: lost } = await world.trigger({
    repository: world.model('lost', { parameters: { TICKS: 30 } }).url,
  });
  await world.until(lost.id, ({ stages }) => stages.at(-1)?.name === 'train');
  await sleep(500);
  await world.kill(first);
  await world.worker(workerEnv);
  await world.ended(lost.id);
  const failed = await world.release(world.model('failing', { train: `${TRAIN}exit 1\n` }).url, 'FAILED');
  ids.push(lost.id, failed.release, failed.traceId);
  const scrape = async (port: number) => (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  // Gauges are looked at every few seconds, requests are counted when they are answered.
  for (let waited = 0; waited < 60; waited += 1) {
    await fetch(`http://127.0.0.1:${listen}/v1/releases/${lost.id}`).catch(() => undefined);
    scraped = `${await scrape(worker)}\n${await scrape(gateway).catch(() => '')}`;
    if (/throughline_trace_undelivered\S* 2$/m.test(scraped) && scraped.includes('http_server_request'))
      break;
    await sleep(500);
  }
}, 120_000);
afterAll(() => world?.stop());

/** Values of a metric by their labels. */
function series(name: string): Record<string, string>[] {
  return [...scraped.matchAll(new RegExp(`^${name}(?:\\{(.*)\\})? (\\S+)$`, 'gm'))].map(
    ([, labels = '', value = '']) => ({
      ...Object.fromEntries([...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, label, text]) => [label, text])),
      value,
    }),
  );
}

it('measures releases by the conventions', () => {
  expect(series('cicd_pipeline_run_duration_seconds_count')).toEqual(
    expect.arrayContaining([
      expect.objectContaining({ cicd_pipeline_name: 'failing', cicd_pipeline_result: 'error', value: '1' }),
      expect.objectContaining({ cicd_pipeline_name: 'lost', cicd_pipeline_result: 'success', value: '1' }),
    ]),
  );
  expect(series('cicd_pipeline_run_errors_total')).toEqual([
    expect.objectContaining({ cicd_pipeline_name: 'failing', error_type: 'TL_TRAINING_FAILED', value: '1' }),
  ]);
  expect(series('cicd_pipeline_run_active')).toContainEqual(expect.objectContaining({ value: '0' }));
});

it('measures stages, retries, queues and what is not delivered', () => {
  expect(series('throughline_stage_duration_seconds_count')).toContainEqual(
    expect.objectContaining({ throughline_stage: 'build', cicd_pipeline_task_run_result: 'success' }),
  );
  expect(series('throughline_activity_retries_total')).toContainEqual(
    expect.objectContaining({ throughline_activity: 'train', error_type: 'worker_lost', value: '1' }),
  );
  expect(
    series('throughline_queue_backlog').map(({ throughline_queue_type }) => throughline_queue_type),
  ).toEqual(expect.arrayContaining(['workflow', 'activity']));
  expect(series('throughline_trace_undelivered')).toContainEqual(expect.objectContaining({ value: '2' }));
});

it('has no ids among its labels', () => {
  for (const id of ids) expect(scraped).not.toContain(id);
  for (const name of ['release', 'workflow_id', 'run_id', 'trace_id', 'commit']) {
    expect(scraped).not.toContain(`${name}="`);
  }
});

describe('the dashboard and the alerts', () => {
  const directory = fileURLToPath(new URL('../../deploy/monitoring', import.meta.url));
  const read = (name: string) => readFileSync(join(directory, name), 'utf8');
  interface Panel {
    readonly title: string;
    readonly targets?: readonly { readonly expr: string }[];
  }
  const { panels } = JSON.parse(read('dashboard.json')) as { panels: Panel[] };
  const { groups } = parse(read('alerts.yaml')) as {
    groups: { rules: { alert: string; expr: string; annotations: { summary: string } }[] }[];
  };
  const queries = [
    ...panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr] as const)),
    ...groups.flatMap(({ rules }) => rules.map(({ alert, expr }) => [alert, expr] as const)),
  ];

  it.each(queries)('%s asks what Prometheus understands, of metrics that there are', (_, query) => {
    // Grafana's variables stand for a duration and for a regular expression.
    const expression = query.replaceAll('$__rate_interval', '1m').replaceAll('$model', '.*');
    const metrics = new Set<string>();
    const errors: string[] = [];
    parser.parse(expression).iterate({
      enter({ type, from, to }) {
        const text = expression.slice(from, to);
        if (type.isError) errors.push(`${text} at ${from}`);
        if (type.name === 'VectorSelector') metrics.add(/^\w+/.exec(text)?.[0] ?? '');
      },
    });
    expect(errors).toEqual([]);
    expect(metrics.size).toBeGreaterThan(0);
    for (const metric of metrics) expect(scraped, metric).toMatch(new RegExp(`^${metric}[{ ]`, 'm'));
  });

  it('say what to look at', () => {
    for (const { annotations } of groups.flatMap(({ rules }) => rules)) {
      expect(annotations).toEqual({ summary: expect.any(String), description: expect.any(String) });
    }
  });
});
