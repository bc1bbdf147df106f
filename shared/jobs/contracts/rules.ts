import { AmountError, parseAmount, ROUNDING_MODES } from '@matcher/shared/money/decimal.ts';
import { z } from 'zod';

/**
 * The matching rules of a context, as a user configures them. Names, defaults and codes are those that existing
 * configurations use. Everything unknown is refused by name: a rule must never do less than its configuration claims.
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

const baseAmount = (baseScore: number, how: string) => ({
  matchBaseAmount: flag(false).describe(
    `Whether the amounts in the base currency must ${how}, too. A record without one matches nothing.`,
  ),
  matchBaseCurrency: flag(false).describe(
    'Whether both base currencies must be equal. A record without one matches nothing.',
  ),
  matchBaseScore: wholeNumber(0, 100, baseScore).describe('Kept for existing configurations and without effect.'),
});

/** A strict object whose problem names each unknown field, and what there is instead. */
const strict = <Shape extends z.core.$ZodLooseShape>(owner: string, shape: Shape) =>
  z.strictObject(shape, {
    error: (issue) => {
      if (issue.code !== 'unrecognized_keys') return `takes an object; got ${shown(issue.input)}`;
      return issue.keys
        .map((key) => `${shown(key)} is not a field of ${owner}, which takes ${Object.keys(shape).join(', ')}`)
        .join('; ');
    },
  });

const OPERATORS = ['EQUALS', 'NOT_EQUALS', 'IN', 'NOT_IN', 'EXISTS', 'NOT_EXISTS'] as const;

const conditionText = z.string(takes('a text')).max(1000, takes('a text of at most 1000 characters'));

const condition = strict('a condition', {
  field: fieldName.describe('Canonical (external_id, amount, currency, date, description) or any other column.'),
  operator: z
    .enum(OPERATORS, takes(listed(OPERATORS)))
    .describe(
      'What must hold. Texts are compared trimmed, upper and lower case told apart; a blank field does not exist.',
    ),
  value: conditionText.optional().describe('What EQUALS and NOT_EQUALS compare with.'),
  values: z
    .array(conditionText, takes('a list of texts'))
    .min(1, takes('at least one text'))
    .max(1000, takes('at most 1000 texts'))
    .optional()
    .describe('What IN and NOT_IN compare with.'),
}).superRefine(({ operator, value, values }, context) => {
  const needs = operator.endsWith('EQUALS') ? 'value' : operator.endsWith('IN') ? 'values' : undefined;
  for (const [name, given] of Object.entries({ value, values })) {
    if ((given !== undefined) === (name === needs)) continue;
    const message =
      name === needs ? `is needed with ${operator}` : `takes nothing with ${operator}; got ${shown(given)}`;
    context.addIssue({ code: 'custom', path: [name], message, input: given });
  }
});

const conditions = z
  .array(condition, takes('a list of conditions'))
  .max(32, takes('at most 32 conditions'))
  .default([]);

const choosing = {
  where: strict('where', {
    left: conditions.describe('Conditions on left records.'),
    right: conditions.describe('Conditions on right records.'),
  })
    .prefault({})
    .describe('Which records the rule looks at: those of which all conditions of their side hold.'),
  similarity: strict('similarity', {
    field: fieldName.describe('The text field that is compared, canonical or any other column.'),
    floor: decimal('0.80', '1').describe(
      'Least similarity of a match, from 0 to 1: the share of three-letter pieces that both texts have in common, without case, accents and punctuation.',
    ),
  })
    .optional()
    .describe(
      'For what was typed by hand: how similar a text field must be. Of equally near records the more similar one is taken.',
    ),
};

const groupBy = z
  .union(
    [
      z.array(fieldName).min(1).max(16),
      strict('groupBy', {
        side: z.enum(['LEFT', 'RIGHT']).describe('The side whose records name those of the other side.'),
        listField: fieldName.describe('The field that holds the list.'),
        separator: z.string().min(1).max(10).default('|').describe('What stands between two entries of the list.'),
        names: fieldName.default('external_id').describe('The field of the other side that an entry names.'),
      }),
    ],
    takes('a list of field names, or an object with side and listField'),
  )
  .optional()
  .describe(
    'What binds parts to a whole: fields that are equal on both sides, or a list field of one side that names records of the other. It takes the place of the reference, the dates and the amounts of single records.',
  );

const allocation = {
  groupBy,
  allowPartial: flag(false).describe(
    'With groupBy: whether parts that fall short of their whole are matched with as much of it as they come to.',
  ),
  allocationDirection: choice(['LEFT_TO_RIGHT', 'RIGHT_TO_LEFT'], 'LEFT_TO_RIGHT').describe(
    'LEFT_TO_RIGHT: a left record is the whole, right ones are its parts. RIGHT_TO_LEFT: the other way round.',
  ),
  allocationToleranceMode: choice(['ABS', 'PERCENT'], 'ABS').describe(
    'What allocationToleranceValue is: an amount, or a fraction of the whole (0.005 is half a percent).',
  ),
  allocationToleranceValue: decimal('0').describe('How far the sum of the parts may be from the whole.'),
  allocationUseBaseAmount: flag(false).describe('Whether amounts in the base currency are summed.'),
};

interface Allocation {
  groupBy?: unknown;
  similarity?: unknown;
  allowPartial: boolean;
  allocationToleranceMode: string;
  allocationToleranceValue: string;
}

function checkAllocation(config: Allocation, context: z.core.$RefinementCtx): void {
  if (config.allocationToleranceMode === 'PERCENT' && parseAmount(config.allocationToleranceValue) > parseAmount('1')) {
    const message = `takes a fraction from 0 to 1 when allocationToleranceMode is PERCENT; got ${shown(config.allocationToleranceValue)}`;
    const input = config.allocationToleranceValue;
    context.addIssue({ code: 'custom', path: ['allocationToleranceValue'], message, input });
  }
  if (config.similarity !== undefined && config.groupBy !== undefined) {
    const message = 'takes nothing with groupBy, which says itself what belongs together';
    context.addIssue({ code: 'custom', path: ['similarity'], message, input: config.similarity });
  }
  if (config.allowPartial && config.groupBy === undefined) {
    const message = 'takes true only with groupBy: parts that nothing binds to a whole are not known to be short of it';
    context.addIssue({ code: 'custom', path: ['allowPartial'], message: `${message}; got true`, input: true });
  }
}

const exactConfig = strict('an EXACT rule', {
  matchAmount: flag(true).describe('Whether both amounts must be equal, sign included.'),
  matchCurrency,
  matchDate: flag(true).describe('Whether both dates must be equal, at the precision of datePrecision.'),
  datePrecision: choice(['DAY', 'TIMESTAMP'], 'DAY').describe(
    'DAY: the same UTC day. TIMESTAMP: the same millisecond.',
  ),
  ...reference,
  matchFields,
  ...baseAmount(90, 'be equal'),
  ...choosing,
  matchScore: matchScore(100),
  ...allocation,
}).superRefine((config, context) => {
  checkAllocation(config, context);
  if (config.groupBy !== undefined || config.matchBaseAmount) return;
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
  ...baseAmount(80, 'agree'),
  ...choosing,
  matchScore: matchScore(85),
  ...allocation,
}).superRefine(checkAllocation);

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
  ...choosing,
  ...allocation,
}).superRefine((config, context) => {
  checkAllocation(config, context);
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

export type Condition = Rule['config']['where']['left'][number];
export type RuleType = Rule['type'];
export type ExactConfig = Extract<Rule, { type: 'EXACT' }>['config'];
export type ToleranceConfig = Extract<Rule, { type: 'TOLERANCE' }>['config'];
export type DateLagConfig = Extract<Rule, { type: 'DATE_LAG' }>['config'];
