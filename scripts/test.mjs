// `npm test`: sets everything up, then runs every suite: the project's own, the example's Python, the example's Go.
// Ends with one line that counts all of them.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { read } from './report.mjs';
import { goToolchain, main, postgres, root, say, setUp } from './setup.mjs';

const total = { passed: 0, failed: 0 };
const failures = [];

/** Runs a suite. One that is counted from its output is shown when it has ended: others run beside it. */
async function suite(name, program, parameters, options, count) {
  const quiet = options.stdio === undefined;
  if (!quiet) say(`\n▸ ${name}`);
  const begun = Date.now();
  const child = spawn(program, parameters, {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
  let output = '';
  let complaints = '';
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    complaints += text;
  });
  const [status] = await once(child, 'close');
  if (quiet) process.stderr.write(`\n▸ ${name}\n${complaints}`);
  const counted = count(output, status);
  // A suite that breaks before it counts has failed all the same.
  if (status !== 0 && counted.failed === 0) counted.failed = 1;
  if (counted.failed > 0) failures.push(`✗ suite: ${name}`);
  total.passed += counted.passed;
  total.failed += counted.failed;
  say(`  ${counted.passed} passed, ${counted.failed} failed, ${Math.round((Date.now() - begun) / 1000)} s`);
}

/** A tool that says nothing of how many: what it printed is shown, and it counts as one. */
function whole(output, status) {
  process.stderr.write(output);
  return { passed: status === 0 ? 1 : 0, failed: status === 0 ? 0 : 1 };
}

function goTests(output) {
  const events = output
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line))
    .filter(({ Test }) => Test);
  const of = (action) => events.filter(({ Action }) => Action === action).length;
  for (const { Action, Output } of events)
    if (Action === 'output' && /FAIL|panic/.test(Output)) process.stderr.write(Output);
  return { passed: of('pass'), failed: of('fail') + of('skip') };
}

const numberBefore = (text, word) => Number(new RegExp(`(\\d+) ${word}`).exec(text)?.[1] ?? 0);

/** What needs neither servers nor builders, one after another: the rest runs beside it. */
async function quickSuites(env) {
  const node = (name, ...parameters) => suite(name, process.execPath, parameters, { env }, whole);
  const python = () =>
    suite(
      'the example’s training (pytest)',
      'python',
      ['-m', 'pytest', '-q', '-p', 'no:cacheprovider', 'tests'],
      { env, cwd: join(root, 'examples/digits/training') },
      (output) => {
        process.stderr.write(output);
        return {
          passed: numberBefore(output, 'passed'),
          failed:
            numberBefore(output, 'failed') + numberBefore(output, 'error') + numberBefore(output, 'skipped'),
        };
      },
    );
  const others = async () => {
    await node(
      'format and lint',
      ...['node_modules/@biomejs/biome/bin/biome', 'check'],
      ...['src', 'cluster', 'test', 'bench', 'scripts', 'bin'],
    );
    await node('types', 'node_modules/typescript/bin/tsc', '--noEmit', '-p', 'tsconfig.test.json');
    const modules = {
      'the example’s service': 'examples/digits/inference',
      'the program for registries': 'oci',
      'the program for builds': 'buildkit',
      'the cluster’s own programs': 'cluster/parts/tools',
    };
    for (const [name, module] of Object.entries(modules)) {
      const go = { env, cwd: join(root, module) };
      await suite(`${name} (go vet)`, 'go', ['vet', './...'], go, whole);
      await suite(`${name} (go test)`, 'go', ['test', '-count=1', '-json', './...'], go, goTests);
    }
  };
  await python();
  await others();
}

await main(async () => {
  const only = process.argv.slice(2);
  say('▸ setting up');
  const env = await setUp({ install: !only.includes('--no-install') });
  await goToolchain();
  Object.assign(env, await postgres());
  env.PYTHONDONTWRITEBYTECODE = '1';
  const wanted = only.filter((word) => !word.startsWith('--'));
  const scratch = mkdtempSync(join(tmpdir(), 'throughline-tests-'));
  try {
    const report = join(scratch, 'vitest.json');
    const projects = ['unit', 'integration', 'chaos'];
    const vitest = () =>
      suite(
        wanted.length > 0 ? 'the tests that were named' : 'unit, integration and chaos tests',
        process.execPath,
        [
          'node_modules/vitest/vitest.mjs',
          'run',
          ...projects.map((project) => `--project=${project}`),
          '--reporter=default',
          '--reporter=json',
          `--outputFile.json=${report}`,
          ...wanted,
        ],
        { env, stdio: ['ignore', 'inherit', 'inherit'] },
        () => {
          const { failures: bad, ...counts } = read(report);
          failures.push(...bad);
          return counts;
        },
      );
    await Promise.all([vitest(), ...(wanted.length > 0 ? [] : [quickSuites(env)])]);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  for (const failure of failures) process.stdout.write(`\n${failure}\n`);
  process.stdout.write(`\n${total.passed} passed, ${total.failed} failed\n`);
  return total.failed === 0 ? 0 : 1;
});
