import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { configurationDocument, withMultiTenantTable } from './config/document.ts';
import { asyncapiDocument } from './jobs/contracts/asyncapi.ts';
import { contractSchemas } from './jobs/contracts/json-schema.ts';

/** `npm run generate`: writes what of the documentation follows from the code. A test holds it against the code. */
const docs = resolve(import.meta.dirname, '../docs');
rmSync(join(docs, 'contracts'), { recursive: true, force: true });
for (const [name, schema] of Object.entries({ ...contractSchemas(), 'asyncapi.json': asyncapiDocument() })) {
  const file = join(docs, 'contracts', name);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, `${JSON.stringify(schema, null, 2)}\n`);
}
writeFileSync(join(docs, 'configuration.md'), configurationDocument());
const readme = resolve(docs, '../README.md');
writeFileSync(readme, withMultiTenantTable(readFileSync(readme, 'utf8')));
