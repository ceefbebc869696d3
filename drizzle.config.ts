// `npm run migrations`: writes the next migration from src/lineage/schema.ts.
import { defineConfig } from 'drizzle-kit';

export default defineConfig({
  dialect: 'postgresql',
  schema: './src/lineage/schema.ts',
  out: './src/lineage/migrations',
});
