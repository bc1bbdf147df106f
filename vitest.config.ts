import { defineConfig } from 'vitest/config';

const servers = {
  globalSetup: ['test/support/services.ts'],
  testTimeout: 60_000,
  hookTimeout: 120_000,
  pool: 'forks' as const,
};

export default defineConfig({
  test: {
    maxWorkers: 3,
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 60_000 } },
      { test: { name: 'integration', include: ['test/integration/**/*.test.ts'], ...servers } },
      { test: { name: 'chaos', include: ['test/chaos/**/*.test.ts'], ...servers, testTimeout: 120_000 } },
      { test: { name: 'e2e', include: ['test/e2e/**/*.test.ts'], ...servers, testTimeout: 180_000 } },
    ],
  },
});
