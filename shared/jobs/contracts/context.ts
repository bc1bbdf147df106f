import { z } from 'zod';
import { cronProblem, isTimeZone } from '../../schedules/cron.ts';
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

/** When a context is matched without anybody asking for it. */
export const schedule = z.strictObject({
  cron: z
    .string()
    .max(200)
    .superRefine((cron, issues) => {
      const problem = cronProblem(cron);
      if (problem) issues.addIssue({ code: 'custom', message: problem });
    })
    .describe(
      'Five fields, as cron has them: minute, hour, day of month, month and day of week. "0 6 * * 1-5" is six o’clock on working days.',
    ),
  timezone: z
    .string()
    .refine(isTimeZone, {
      error: ({ input }) => `takes the IANA name of a time zone, such as Europe/Berlin; got ${JSON.stringify(input)}`,
    })
    .default('UTC')
    .describe('The time zone, by its IANA name, in which the fields are read.'),
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
  schedule: schedule.optional().describe('Publishes a matching.run in mode COMMIT at each of these times.'),
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

/** Fields of a rule that need what a 1:1 context does not have, with the values that ask for nothing. */
const needsMore: Readonly<Record<string, unknown>> = {
  matchBaseAmount: false,
  matchBaseCurrency: false,
  groupBy: undefined,
  allowPartial: false,
  allocationToleranceValue: '0',
  allocationUseBaseAmount: false,
};

/** A rule must never do less than its configuration claims. */
export function checkRules(context: { rules: readonly { config: object }[] }, issues: z.core.$RefinementCtx): void {
  context.rules.forEach(({ config }, index) => {
    for (const [field, inert] of Object.entries(needsMore)) {
      const value = (config as Record<string, unknown>)[field];
      if (value === undefined || value === inert || (inert === '0' && Number(value) === 0)) continue;
      issues.addIssue({
        code: 'custom',
        path: ['rules', index, 'config', field],
        message: `${field} is not supported yet in a 1:1 context`,
        input: value,
      });
    }
  });
}

export const contextDefinition = z.strictObject(contextShape).superRefine(checkSources).superRefine(checkRules);
export type ContextDefinition = z.infer<typeof contextDefinition>;
