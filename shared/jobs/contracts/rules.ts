import { AmountError, parseAmount, ROUNDING_MODES } from '@matcher/shared/money/decimal.ts';
import { z } from 'zod';

/**
 * The matching rules of a context, as a user configures them. Names, defaults and codes are those that existing
 * configurations use. Everything unknown is refused by name, and what a later version will understand (base amounts,
 * allocation, `groupBy`, `where`, `similarity`) is refused as not supported yet, unless it says what is the case anyway:
 * a rule must never do less than its configuration claims.
 *
 * Every problem says what the field takes and what it got; which field it is stands in the issue's `path`.
 */

type Issue = { readonly input?: unknown };

/** How a value is shown in a problem: as JSON, and never a whole file in the wrong place. */
function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing';
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}

const takes = (what: string) => ({ error: (issue: Issue) => `takes ${what}; got ${shown(issue.input)}` });

const listed = (words: readonly string[]) => `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;

const flag = (initial: boolean) => z.boolean(takes('true or false')).default(initial);

const choice = <const Codes extends readonly [string, ...string[]]>(codes: Codes, initial: NoInfer<Codes[number]>) =>
  z.enum(codes, takes(listed(codes))).default(initial as never);

const wholeNumber = (min: number, max: number, initial: number) => {
  const problem = takes(`a whole number from ${min} to ${max}`);
  return z.int(problem).min(min, problem).max(max, problem).default(initial);
};

/**
 * A decimal of at least 0 and at most `max`. Text is best. A number is taken by its shortest decimal text: YAML's and
 * JSON's `0.05` arrives as a binary double, and the shortest text that reads back as that double is the `0.05` that was
 * written, for everything up to 15 significant digits; tolerances have fewer. A number whose text needs an exponent is
 * refused. The result is always text for `parseAmount`.
 */
const decimal = (initial: string, max?: string) => {
  const what = `a decimal ${max === undefined ? 'of 0 or more' : `from 0 to ${max}`}, best as text such as ${shown(initial)}`;
  return z
    .union([z.string(), z.number()], takes(what))
    .transform((given, context) => {
      const text = String(given);
      const problem = decimalProblem(text, max);
      if (problem === undefined) return text;
      context.addIssue({ code: 'custom', message: `takes ${what}; got ${shown(given)}${problem}`, input: given });
      return z.NEVER;
    })
    .pipe(z.string())
    .default(initial);
};

/** What is wrong with the text, as an ending for the problem; empty when there is no more to say than what is taken. */
function decimalProblem(text: string, max: string | undefined): string | undefined {
  try {
    const value = parseAmount(text);
    return value < 0n || (max !== undefined && value > parseAmount(max)) ? '' : undefined;
  } catch (error) {
    if (!(error instanceof AmountError)) throw error;
    return error.code === 'AMOUNT_SYNTAX' ? '' : ` (${error.message})`;
  }
}

const fieldName = z
  .string(takes('the name of a field'))
  .trim()
  .min(1, takes('the name of a field'))
  .max(200, takes('the name of a field, at most 200 characters'));

const NOT_YET = 'is not supported yet';

type Inert = boolean | string | number;

/** A field of a later version: only a value that changes nothing is taken. */
const onlyInert = <const Values extends readonly [Inert, ...Inert[]]>(...values: Values) =>
  z.literal(values, {
    error: (issue) => `${NOT_YET}: takes only ${shown(values[0])} for now; got ${shown(issue.input)}`,
  });

const matchScore = (initial: number) =>
  wholeNumber(0, 100, initial).describe(
    'Kept for existing configurations and without effect: the confidence of a match is computed from its evidence (amount 40, currency 30, date 20, reference 10).',
  );

const matchFields = z
  .array(fieldName, takes('a list of field names'))
  .max(16, takes('at most 16 field names'))
  .default([])
  .describe(
    'Further fields that must be equal on both sides: canonical (external_id, amount, currency, date, description) or any other column of the records. Compared trimmed, upper and lower case told apart. A blank value matches nothing.',
  );

const reference = {
  matchReference: flag(true).describe('Whether the reference of both sides must be equal. Compared trimmed.'),
  referenceField: fieldName
    .default('external_id')
    .describe('The field that is the reference, canonical or any other column of the records.'),
  caseInsensitive: flag(true).describe('Whether references that differ only in the case of A–Z are equal.'),
  referenceMustSet: flag(false).describe(
    'Whether a blank reference matches nothing. When false, two blank references are equal; a blank and a set one never are.',
  ),
};

const matchCurrency = flag(true).describe(
  'Whether both currencies must be equal. When false, amounts of different currencies are compared as plain numbers, at a lower confidence.',
);

const baseAmount = (baseScore: number) => ({
  matchBaseAmount: onlyInert(false)
    .default(false)
    .describe('Comparing amounts in the base currency: not supported yet.'),
  matchBaseCurrency: onlyInert(false).default(false).describe('Comparing base currencies: not supported yet.'),
  matchBaseScore: wholeNumber(0, 100, baseScore).describe('Kept for existing configurations and without effect.'),
});

const allocation = {
  allowPartial: onlyInert(false).optional().describe('Allocation in parts: not supported yet.'),
  allocationDirection: onlyInert('LEFT_TO_RIGHT').optional().describe('Direction of allocation: not supported yet.'),
  allocationToleranceMode: onlyInert('ABS').optional().describe('Tolerance of allocation: not supported yet.'),
  allocationToleranceValue: onlyInert('0', 0).optional().describe('Tolerance of allocation: not supported yet.'),
  allocationUseBaseAmount: onlyInert(false).optional().describe('Allocation in the base currency: not supported yet.'),
};

const LATER_FIELDS = new Set(['groupBy', 'where', 'similarity']);

/** A strict object whose problem names each unknown field, and what there is instead. */
const strict = <Shape extends z.core.$ZodLooseShape>(owner: string, shape: Shape) =>
  z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return `takes an object; got ${shown(issue.input)}`;
      const later = issue.keys.filter((key) => LATER_FIELDS.has(key));
      const unknown = issue.keys.filter((key) => !LATER_FIELDS.has(key));
      return [
        ...later.map((key) => `${key} ${NOT_YET}`),
        ...unknown.map(
          (key) => `${shown(key)} is not a field of ${owner}, which takes ${Object.keys(shape).join(', ')}`,
        ),
      ].join('; ');
    },
  });

const exactConfig = strict('an EXACT rule', {
  matchAmount: flag(true).describe('Whether both amounts must be equal, sign included.'),
  matchCurrency,
  matchDate: flag(true).describe('Whether both dates must be equal, at the precision of datePrecision.'),
  datePrecision: choice(['DAY', 'TIMESTAMP'], 'DAY').describe(
    'DAY: the same UTC day. TIMESTAMP: the same millisecond.',
  ),
  ...reference,
  matchFields,
  ...baseAmount(90),
  matchScore: matchScore(100),
  ...allocation,
}).superRefine((config, context) => {
  if (config.matchAmount || config.matchDate || config.matchReference || config.matchFields.length > 0) return;
  context.addIssue({
    code: 'custom',
    path: ['matchAmount'],
    message:
      'takes true when matchDate and matchReference are false and matchFields is empty; got false: such a rule would pair anything with anything',
    input: config,
  });
});

const toleranceConfig = strict('a TOLERANCE rule', {
  matchCurrency,
  dateWindowDays: wholeNumber(0, 3650, 0).describe('How many UTC days the two dates may be apart, either way.'),
  absTolerance: decimal('0.50').describe('How far the two amounts may be apart, in the currency of the amounts.'),
  percentTolerance: decimal('0.005', '1').describe(
    'How far the two amounts may be apart as a fraction of percentageBase (0.005 is half a percent). The larger of both tolerances counts.',
  ),
  percentageBase: choice(['MAX', 'MIN', 'AVERAGE', 'LEFT', 'RIGHT'], 'MAX').describe(
    'What percentTolerance is a fraction of: the larger, smaller, average, left or right amount, each without its sign.',
  ),
  roundingScale: wholeNumber(0, 10, 2).describe('Decimals to which both amounts are rounded before they are compared.'),
  roundingMode: choice(ROUNDING_MODES, 'HALF_UP').describe(
    'HALF_UP: from the middle away from zero. BANKERS: from the middle to the even one. FLOOR: down. CEIL: up. TRUNCATE: towards zero.',
  ),
  ...reference,
  matchFields,
  ...baseAmount(80),
  matchScore: matchScore(85),
  ...allocation,
});

const dateLagConfig = strict('a DATE_LAG rule', {
  minDays: wholeNumber(0, 3650, 0).describe(
    'Fewest UTC days between the two dates; itself included unless inclusive is false.',
  ),
  maxDays: wholeNumber(0, 3650, 0).describe(
    'Most UTC days between the two dates; itself included unless inclusive is false.',
  ),
  inclusive: flag(true).describe('Whether a lag of exactly minDays or maxDays matches.'),
  direction: choice(['ABS', 'LEFT_BEFORE_RIGHT', 'RIGHT_BEFORE_LEFT'], 'ABS').describe(
    'Which side comes first. The same day counts as either.',
  ),
  feeTolerance: decimal('0').describe('How far the two amounts may be apart, in the currency of the amounts.'),
  matchCurrency,
  matchFields,
  matchScore: matchScore(80),
  ...allocation,
}).superRefine((config, context) => {
  const { minDays, maxDays, inclusive } = config;
  const path = ['maxDays'];
  if (maxDays < minDays) {
    const message = `takes at least minDays, which is ${minDays}; got ${maxDays}`;
    context.addIssue({ code: 'custom', path, message, input: maxDays });
  } else if (!inclusive && maxDays < minDays + 2) {
    const message = `takes at least ${minDays + 2} when inclusive is false, since minDays and maxDays themselves are then excluded; got ${maxDays}`;
    context.addIssue({ code: 'custom', path, message, input: maxDays });
  }
});

/** Fields that every rule has, whatever its type. */
const common = {
  name: z
    .string(takes('a text'))
    .trim()
    .min(1, takes('a text that is not blank'))
    .max(200, takes('a text of at most 200 characters'))
    .optional()
    .describe('How reports call the rule. Without one, its type and priority.'),
  priority: z
    .int32(takes('a whole number'))
    .describe('Rules run in ascending priority; each sees only what earlier ones left open.'),
};

const ruleOf = <const Type extends string, Config extends z.ZodType>(type: Type, config: Config, describes: string) =>
  strict('a rule', {
    ...common,
    type: z.literal(type).describe('The kind of rule.'),
    config: config.prefault({} as never).describe(describes),
  });

const TYPES = ['EXACT', 'TOLERANCE', 'DATE_LAG'] as const;

/** One rule of a context. Parsing fills in every default; decimals become text. */
export const ruleSchema = z
  .discriminatedUnion(
    'type',
    [
      ruleOf('EXACT', exactConfig, 'What must be equal.'),
      ruleOf('TOLERANCE', toleranceConfig, 'How far amounts and dates may be apart.'),
      ruleOf('DATE_LAG', dateLagConfig, 'How many days lie between the two sides.'),
    ],
    {
      error: (issue) => {
        if (issue.code !== 'invalid_union') return `takes an object; got ${shown(issue.input)}`;
        return `takes ${listed(TYPES)}; got ${shown((issue.input as { type?: unknown }).type)}`;
      },
    },
  )
  .describe('One matching rule.');

/** All rules of a context: at least one, each with its own priority, so that their order is never a matter of luck. */
export const rulesSchema = z
  .array(ruleSchema, takes('a list of rules'))
  .min(1, takes('at least one rule'))
  .max(100, takes('at most 100 rules'))
  .superRefine((rules, context) => {
    rules.forEach((rule, index) => {
      const first = rules.findIndex((other) => other.priority === rule.priority);
      if (first === index) return;
      const message = `takes a number that no other rule has; got ${rule.priority}, which rule ${first + 1} has`;
      context.addIssue({ code: 'custom', path: [index, 'priority'], message, input: rule.priority });
    });
  })
  .describe('The matching rules of a context.');

/** A rule as the engine takes it: parsed, every default filled in. */
export type Rule = z.output<typeof ruleSchema>;
/** A rule as a user writes it. */
export type RuleInput = z.input<typeof ruleSchema>;

export type RuleType = Rule['type'];
export type ExactConfig = Extract<Rule, { type: 'EXACT' }>['config'];
export type ToleranceConfig = Extract<Rule, { type: 'TOLERANCE' }>['config'];
export type DateLagConfig = Extract<Rule, { type: 'DATE_LAG' }>['config'];
