import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { configurationDocument, withMultiTenantTable } from '@matcher/shared/config/document.ts';
import { asyncapiDocument } from '@matcher/shared/jobs/contracts/asyncapi.ts';
import { jobTypes } from '@matcher/shared/jobs/contracts/job-types.ts';
import { contractSchemas } from '@matcher/shared/jobs/contracts/json-schema.ts';
import { expect, test } from 'vitest';

const docs = resolve(import.meta.dirname, '../../docs');
const directory = join(docs, 'contracts');

test('the published contracts are those of the code (npm run generate writes them)', () => {
  const files = readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  const published = Object.fromEntries(
    files.map((file) => [file.slice(directory.length + 1), JSON.parse(readFileSync(file, 'utf8'))]),
  );
  const generated = { ...contractSchemas(), 'asyncapi.json': asyncapiDocument() };
  expect(published).toEqual(JSON.parse(JSON.stringify(generated)));
});

test('every job type has a schema for its body and for its result', () => {
  const schemas = contractSchemas();
  for (const type of jobTypes) {
    expect(schemas[`jobs/${type}.schema.json`]).toMatchObject({ type: 'object', additionalProperties: false });
    expect(schemas[`results/${type}.schema.json`]).toMatchObject({ type: 'object' });
  }
});

test('the page on configuration is that of the code (npm run generate writes it)', () => {
  expect(readFileSync(join(docs, 'configuration.md'), 'utf8')).toBe(configurationDocument());
});

test('the README’s table of multi-tenant mode is that of the code (npm run generate writes it)', () => {
  const readme = readFileSync(resolve(docs, '../README.md'), 'utf8');
  expect(withMultiTenantTable(readme)).toBe(readme);
});
