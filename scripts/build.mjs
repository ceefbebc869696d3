// Compiles the sources and bundles the workflows. The bundle is made here, not at a worker's start: every worker of a
// version runs the same one, and starts in a fraction of the time.
import { execFileSync } from 'node:child_process';
import { cpSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode } from '@temporalio/worker';

const root = fileURLToPath(new URL('..', import.meta.url));
rmSync(`${root}/dist`, { recursive: true, force: true });
for (const project of [root, `${root}/cluster`]) {
  execFileSync(process.execPath, [`${root}/node_modules/typescript/bin/tsc`, '-p', project], {
    stdio: 'inherit',
  });
}
cpSync(`${root}/src/lineage/migrations`, `${root}/dist/lineage/migrations`, { recursive: true });
const quiet = () => {};
const { code } = await bundleWorkflowCode({
  workflowsPath: `${root}/dist/workflows/index.js`,
  workflowInterceptorModules: [`${root}/dist/workflows/interceptors.js`],
  logger: { trace: quiet, debug: quiet, info: quiet, log: quiet, warn: console.warn, error: console.error },
});
writeFileSync(`${root}/dist/workflow-bundle.js`, code);
