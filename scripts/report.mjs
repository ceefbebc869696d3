// What vitest's JSON report says, for the scripts that count: how many passed, and which did not, with the reason.
import { existsSync, readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { root } from './setup.mjs';

/** Of the report in the file `report`; a report that is missing is a suite that broke before it counted. */
export function read(report) {
  if (!existsSync(report)) return { passed: 0, failed: 1, failures: ['✗ vitest ended without a report'] };
  const { numPassedTests, numFailedTests, numPendingTests, numTodoTests, testResults } = JSON.parse(
    readFileSync(report, 'utf8'),
  );
  const failures = [];
  for (const { name, status, message, assertionResults } of testResults) {
    const file = relative(root, name);
    const bad = assertionResults.filter((test) => test.status !== 'passed');
    for (const test of bad)
      failures.push(line(`${file} > ${test.fullName}`, test.failureMessages[0] ?? test.status));
    if (status === 'failed' && bad.length === 0) failures.push(line(file, message));
  }
  // A test that did not run has not passed.
  return { passed: numPassedTests, failed: numFailedTests + numPendingTests + numTodoTests, failures };
}

/** One line a failure, so that it can be found, and repeated, by its mark. */
function line(test, reason) {
  const words = reason
    .split('\n')
    .slice(0, 12)
    .map((word) => word.trim())
    .join(' · ');
  return `✗ ${test}: ${words}`.slice(0, 900);
}
