import { defineConfig } from 'vitest/config';

const SURFACE = ['test/integration/gateway/*.test.ts', 'test/integration/{dev,metrics}.test.ts'];
const GITOPS = ['test/integration/git*.test.ts', 'test/integration/{targets,promotion,verify}.test.ts'];

export default defineConfig({
  test: {
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 20_000 } },
      {
        test: {
          name: 'integration',
          include: ['test/integration/*.test.ts'],
          exclude: [...SURFACE, ...GITOPS],
          testTimeout: 120_000,
          hookTimeout: 180_000,
          // Real servers and builders: one file at a time on the two cores that this is meant to run on.
          fileParallelism: false,
        },
      },
      {
        test: {
          // Of the integration tests, those of what people and programs meet: about a third of the time that all take.
          name: 'surface',
          include: SURFACE,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          // And those of what is written into GitOps repositories: another third.
          name: 'gitops',
          include: GITOPS,
          testTimeout: 120_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'cluster',
          include: ['test/cluster/**/*.test.ts'],
          testTimeout: 240_000,
          hookTimeout: 180_000,
          // One cluster: one file at a time.
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'bench',
          include: ['bench/**/*.bench.ts'],
          testTimeout: 900_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          testTimeout: 400_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
