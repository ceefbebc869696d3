// gitops-writer.mjs CACHE CHANGES: writes the deployments of a file to their branch, and prints what became of each. Says
// "begun" before, so that whoever kills it knows when.
import { readFileSync } from 'node:fs';
import { gitOpsChange } from '../../dist/activities/gitops/deployment.js';
import { GitGitOpsRepository } from '../../dist/activities/gitops/writer.js';

const [cache, file] = process.argv.slice(2);
const changes = JSON.parse(readFileSync(file, 'utf8'));
const writer = new GitGitOpsRepository(cache, { name: 'Throughline', email: 'throughline@localhost' });
console.log('begun');
const written = await writer.write(changes[0], changes.map(gitOpsChange), {
  signal: new AbortController().signal,
  report: () => {},
});
console.log(
  JSON.stringify(
    written.map((one) => ('refused' in one ? { refused: one.refused.problem } : { commit: one.commit })),
  ),
);
