import { z } from 'zod';
import { rulesSchema } from './rules.ts';

const name = (what: string) =>
  z
    .string()
    .regex(/^[a-z0-9][a-z0-9_-]{0,62}$/, `${what} takes 1 to 63 of a–z, 0–9, "-" and "_", the first a letter or digit`);

export const contextName = name('a context name');
export const sourceName = name('a source name');

const column = z.string().min(1).max(200);

/** Which column of the source's records is which field. Every other column is kept as metadata, and rules can use it. */
export const fieldMap = z.strictObject({
  external_id: column.describe('What identifies a record within its source.'),
  amount: column.describe('A plain decimal, signed, at most 20 digits and 8 decimals.'),
  currency: column.describe('An ISO 4217 code.'),
  date: column.describe('ISO 8601: a day, or a time with its zone; a time without one is UTC.'),
  description: column.optional().describe('Free text.'),
});
export type FieldMap = z.infer<typeof fieldMap>;

export const side = z.enum(['LEFT', 'RIGHT']);
export type Side = z.infer<typeof side>;

export const source = z.strictObject({
  name: sourceName,
  side,
  type: z.enum(['LEDGER', 'BANK', 'GATEWAY', 'CUSTOM']),
  fieldMap,
});

const description = z.string().max(1000).optional();

/** One reconciliation: what is compared with what, and by which rules. */
export const contextShape = {
  name: contextName,
  description,
  type: z.literal('1:1', {
    error: ({ input }) =>
      input === '1:N' || input === 'N:M'
        ? `${input} contexts are not supported yet; it takes "1:1"`
        : `takes "1:1"; got ${JSON.stringify(input) ?? 'nothing'}`,
  }),
  sources: z.array(source).min(2).max(20),
  rules: rulesSchema,
};

interface Named {
  sources: { name: string; side: Side }[];
}

/** What can't be said field by field. Shared with the context file, which has more fields per source. */
export function checkSources(context: Named, issues: z.core.$RefinementCtx): void {
  const seen = new Set<string>();
  context.sources.forEach(({ name }, index) => {
    if (seen.has(name)) {
      issues.addIssue({
        code: 'custom',
        path: ['sources', index, 'name'],
        message: `the source ${name} is there twice`,
      });
    }
    seen.add(name);
  });
  for (const wanted of side.options) {
    if (context.sources.some((one) => one.side === wanted)) continue;
    issues.addIssue({ code: 'custom', path: ['sources'], message: `needs at least one source with side ${wanted}` });
  }
}

export const contextDefinition = z.strictObject(contextShape).superRefine(checkSources);
export type ContextDefinition = z.infer<typeof contextDefinition>;
