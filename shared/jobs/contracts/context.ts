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
  amount_base: column
    .optional()
    .describe(
      'The amount in the base currency, as amount; blank where it is not known. Rules compare it with matchBaseAmount.',
    ),
  base_currency: column
    .optional()
    .describe(
      'The base currency, an ISO 4217 code; blank where it is not known. Rules compare it with matchBaseCurrency.',
    ),
  fx_rate: column
    .optional()
    .describe(
      'The rate of the two, a positive decimal of at most 20 digits before and 18 after the point. Kept with the record.',
    ),
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
  type: z
    .enum(['1:1', '1:N', 'N:M'], {
      error: ({ input }) => `takes "1:1", "1:N" or "N:M"; got ${JSON.stringify(input) ?? 'nothing'}`,
    })
    .describe(
      '1:1 pairs single records. 1:N matches one record with the several that it is the sum of, N:M several with several.',
    ),
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

/** Fields of a rule that need wholes and parts, with the values that ask for nothing. */
const allocates: Readonly<Record<string, unknown>> = {
  groupBy: undefined,
  allowPartial: false,
  allocationToleranceValue: '0',
  allocationUseBaseAmount: false,
};

/** A rule must never do less than its configuration claims. */
export function checkRules(
  context: { type: unknown; rules: readonly { config: object }[] },
  issues: z.core.$RefinementCtx,
): void {
  if (context.type !== '1:1') return;
  context.rules.forEach(({ config }, index) => {
    for (const [field, inert] of Object.entries(allocates)) {
      const value = (config as Record<string, unknown>)[field];
      if (value === undefined || value === inert || (inert === '0' && Number(value) === 0)) continue;
      issues.addIssue({
        code: 'custom',
        path: ['rules', index, 'config', field],
        message: `${field} needs a context of type 1:N or N:M; this one is 1:1`,
        input: value,
      });
    }
  });
}

export const contextDefinition = z.strictObject(contextShape).superRefine(checkSources).superRefine(checkRules);
export type ContextDefinition = z.infer<typeof contextDefinition>;
