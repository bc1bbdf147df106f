import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { contractSchemas } from './json-schema.ts';

/** `npm run contracts`: writes the JSON Schemas under docs/contracts anew. A test holds them against the code. */
const directory = resolve(import.meta.dirname, '../../../docs/contracts');
rmSync(directory, { recursive: true, force: true });
for (const [name, schema] of Object.entries(contractSchemas())) {
  const file = join(directory, name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(schema, null, 2)}\n`);
}
