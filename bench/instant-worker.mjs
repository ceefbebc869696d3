// The worker as it is, with a runtime whose stages take no time: what is left is what Throughline itself costs.
import { startInstantWorker } from '../test/support/instant-runtime.mjs';

let prepared; // the plan is read once: what starting git takes would cover all that is measured
await startInstantWorker(({ source }) => ({
  source: {
    async prepare(...parameters) {
      prepared ??= await source.prepare(...parameters);
      return prepared;
    },
  },
  gitops: {
    check: async () => {},
    write: async (_branch, changes) => changes.map(() => ({ commit: '3'.repeat(40) })),
    find: async () => undefined,
  },
}));
