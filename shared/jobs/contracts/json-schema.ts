import { z } from 'zod';
import { jobBodies } from './bodies.ts';
import { eventSchemas } from './events.ts';
import { jobResults } from './results.ts';

/**
 * The contracts as JSON Schema (draft 2020-12), by file name, for publishers and consumers in any language. A job's body is described as it is
 * published, before defaults are filled in.
 */
export function contractSchemas(): Record<string, object> {
  const files: Record<string, object> = {};
  const add = (folder: string, name: string, schema: z.ZodType, io: 'input' | 'output') => {
    const title = name;
    files[`${folder}/${name}.schema.json`] = { title, ...z.toJSONSchema(schema, { io, unrepresentable: 'any' }) };
  };
  for (const [type, schema] of Object.entries(jobBodies)) add('jobs', type, schema, 'input');
  for (const [type, schema] of Object.entries(jobResults)) add('results', type, schema, 'output');
  for (const [type, schema] of Object.entries(eventSchemas())) add('events', type, schema, 'output');
  return files;
}
