import { ruleSchema, rulesSchema } from '@matcher/shared/jobs/contracts/rules.ts';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

/** The problems of a rule's configuration, each as `field: problem`. */
function problems(type: string, config: unknown): string[] {
  const parsed = ruleSchema.safeParse({ type, priority: 1, config });
  return (parsed.error?.issues ?? []).map((issue) => `${issue.path.slice(1).join('.')}: ${issue.message}`);
}

function listProblems(rules: unknown): string[] {
  const parsed = rulesSchema.safeParse(rules);
  return (parsed.error?.issues ?? []).map((issue) => `${issue.path.join('.')}: ${issue.message}`);
}

describe('defaults', () => {
  const reference = {
    matchReference: true,
    referenceField: 'external_id',
    caseInsensitive: true,
    referenceMustSet: false,
  };
  const base = { matchBaseAmount: false, matchBaseCurrency: false };
  const every = {
    where: { left: [], right: [] },
    allowPartial: false,
    allocationDirection: 'LEFT_TO_RIGHT',
    allocationToleranceMode: 'ABS',
    allocationToleranceValue: '0',
    allocationUseBaseAmount: false,
  };

  test('of an EXACT rule', () => {
    expect(ruleSchema.parse({ type: 'EXACT', priority: 1 }).config).toEqual({
      matchAmount: true,
      matchCurrency: true,
      matchDate: true,
      datePrecision: 'DAY',
      ...reference,
      matchFields: [],
      ...base,
      ...every,
      matchScore: 100,
      matchBaseScore: 90,
    });
  });

  test('of a TOLERANCE rule', () => {
    expect(ruleSchema.parse({ type: 'TOLERANCE', priority: 1, config: {} }).config).toEqual({
      matchCurrency: true,
      dateWindowDays: 0,
      absTolerance: '0.50',
      percentTolerance: '0.005',
      percentageBase: 'MAX',
      roundingScale: 2,
      roundingMode: 'HALF_UP',
      ...reference,
      matchFields: [],
      ...base,
      ...every,
      matchScore: 85,
      matchBaseScore: 80,
    });
  });

  test('of a DATE_LAG rule', () => {
    expect(ruleSchema.parse({ type: 'DATE_LAG', priority: 1 }).config).toEqual({
      minDays: 0,
      maxDays: 0,
      inclusive: true,
      direction: 'ABS',
      feeTolerance: '0',
      matchCurrency: true,
      matchFields: [],
      ...every,
      matchScore: 80,
    });
  });
});

describe('decimals', () => {
  test.each([
    ['0.05', '0.05'],
    [0.05, '0.05'],
    [3, '3'],
  ])('%j is taken as it is written', (given, text) => {
    const rule = ruleSchema.parse({ type: 'TOLERANCE', priority: 1, config: { absTolerance: given } });
    expect(rule.config).toMatchObject({ absTolerance: text });
  });

  test('a number that was computed and not written is refused, and not rounded', () => {
    const [problem] = problems('TOLERANCE', { absTolerance: 0.1 + 0.7 });
    expect(problem).toContain('"0.7999999999999999" has 16 decimals; an amount has at most 8');
  });

  const takes = 'takes a decimal of 0 or more, best as text such as "0.50"; got';
  test.each([
    ['-0.01', `absTolerance: ${takes} "-0.01"`],
    ['5 %', `absTolerance: ${takes} "5 %"`],
    ['1e3', `absTolerance: ${takes} "1e3"`],
    [1e-7, `absTolerance: ${takes} 1e-7`],
    [true, `absTolerance: ${takes} true`],
    ['0.000000001', `absTolerance: ${takes} "0.000000001" ("0.000000001" has 9 decimals; an amount has at most 8)`],
  ])('%j is refused', (given, problem) => {
    expect(problems('TOLERANCE', { absTolerance: given })).toEqual([problem]);
  });

  test('a percent tolerance is a fraction: 5 is not five percent', () => {
    expect(problems('TOLERANCE', { percentTolerance: '5' })).toEqual([
      'percentTolerance: takes a decimal from 0 to 1, best as text such as "0.005"; got "5"',
    ]);
  });
});

describe('a bad configuration is refused with what the field takes and what it got', () => {
  const exactFields =
    'matchAmount, matchCurrency, matchDate, datePrecision, matchReference, referenceField, caseInsensitive, referenceMustSet, matchFields, matchBaseAmount, matchBaseCurrency, matchBaseScore, where, similarity, matchScore, groupBy, allowPartial, allocationDirection, allocationToleranceMode, allocationToleranceValue, allocationUseBaseAmount';
  test.each([
    ['EXACT', { matchAmount: 'yes' }, ['matchAmount: takes true or false; got "yes"']],
    ['EXACT', { datePrecision: 'HOUR' }, ['datePrecision: takes DAY or TIMESTAMP; got "HOUR"']],
    ['EXACT', { matchScore: 101 }, ['matchScore: takes a whole number from 0 to 100; got 101']],
    ['EXACT', { matchFields: 'order_id' }, ['matchFields: takes a list of field names; got "order_id"']],
    ['EXACT', { matchFields: [''] }, ['matchFields.0: takes the name of a field; got ""']],
    ['EXACT', { referenceField: 7 }, ['referenceField: takes the name of a field; got 7']],
    ['EXACT', { matchAmout: true }, [`: "matchAmout" is not a field of an EXACT rule, which takes ${exactFields}`]],
    ['EXACT', 'all', [': takes an object; got "all"']],
    ['TOLERANCE', { dateWindowDays: 3651 }, ['dateWindowDays: takes a whole number from 0 to 3650; got 3651']],
    ['TOLERANCE', { dateWindowDays: -1 }, ['dateWindowDays: takes a whole number from 0 to 3650; got -1']],
    ['TOLERANCE', { roundingScale: 2.5 }, ['roundingScale: takes a whole number from 0 to 10; got 2.5']],
    ['TOLERANCE', { roundingMode: 'UP' }, ['roundingMode: takes HALF_UP, BANKERS, FLOOR, CEIL or TRUNCATE; got "UP"']],
    ['TOLERANCE', { percentageBase: 'max' }, ['percentageBase: takes MAX, MIN, AVERAGE, LEFT or RIGHT; got "max"']],
    ['DATE_LAG', { direction: 'LEFT' }, ['direction: takes ABS, LEFT_BEFORE_RIGHT or RIGHT_BEFORE_LEFT; got "LEFT"']],
    ['DATE_LAG', { minDays: 3, maxDays: 1 }, ['maxDays: takes at least minDays, which is 3; got 1']],
    [
      'DATE_LAG',
      { inclusive: false },
      [
        'maxDays: takes at least 2 when inclusive is false, since minDays and maxDays themselves are then excluded; got 0',
      ],
    ],
    [
      'LIKE',
      {},
      ['type: takes EXACT, TOLERANCE or DATE_LAG; got "LIKE"'].map((problem) => problem.replace('type', '')),
    ],
  ])('%s %j', (type, config, expected) => {
    expect(problems(type, config)).toEqual(expected);
  });

  test('a rule that compares nothing but the currency', () => {
    const config = { matchAmount: false, matchDate: false, matchReference: false };
    expect(problems('EXACT', config)).toEqual([
      'matchAmount: takes true when matchDate and matchReference are false and matchFields is empty; got false: such a rule would pair anything with anything',
    ]);
    expect(problems('EXACT', { ...config, matchFields: ['order_id'] })).toEqual([]);
  });

  test('all problems at once', () => {
    expect(problems('TOLERANCE', { roundingMode: 'UP', dateWindowDays: 'x', foo: 1 })).toHaveLength(3);
  });
});

describe('what a rule looks at, and how it allocates', () => {
  test.each([
    [{ matchBaseAmount: 1 }, 'matchBaseAmount: takes true or false; got 1'],
    [{ where: [] }, 'where: takes an object; got []'],
    [
      { where: { left: [{ field: 'state', operator: 'IS' }] } },
      'where.left.0.operator: takes EQUALS, NOT_EQUALS, IN, NOT_IN, EXISTS or NOT_EXISTS; got "IS"',
    ],
    [{ where: { left: [{ field: 'state', operator: 'EQUALS' }] } }, 'where.left.0.value: is needed with EQUALS'],
    [
      { where: { right: [{ field: 'state', operator: 'NOT_IN', values: [] }] } },
      'where.right.0.values: takes at least one text; got []',
    ],
    [
      { where: { right: [{ field: 'state', operator: 'EXISTS', value: 'x' }] } },
      'where.right.0.value: takes nothing with EXISTS; got "x"',
    ],
    [{ similarity: 0.8 }, 'similarity: takes an object; got 0.8'],
    [
      { similarity: { field: 'text', floor: '1.1' } },
      'similarity.floor: takes a decimal from 0 to 1, best as text such as "0.80"; got "1.1"',
    ],
    [{ groupBy: 'seller' }, 'groupBy: takes a list of field names, or an object with side and listField; got "seller"'],
    [
      { allowPartial: true },
      'allowPartial: takes true only with groupBy: parts that nothing binds to a whole are not known to be short of it; got true',
    ],
    [{ allocationDirection: 'LEFT' }, 'allocationDirection: takes LEFT_TO_RIGHT or RIGHT_TO_LEFT; got "LEFT"'],
    [
      { allocationToleranceValue: '-1' },
      'allocationToleranceValue: takes a decimal of 0 or more, best as text such as "0"; got "-1"',
    ],
    [
      { allocationToleranceMode: 'PERCENT', allocationToleranceValue: '2' },
      'allocationToleranceValue: takes a fraction from 0 to 1 when allocationToleranceMode is PERCENT; got "2"',
    ],
  ])('%j is refused', (config, problem) => {
    for (const type of ['EXACT', 'TOLERANCE']) expect(problems(type, config)).toEqual([problem]);
  });

  test('is refused where it would do nothing', () => {
    const config = { groupBy: ['settlement'], similarity: { field: 'text' } };
    expect(problems('DATE_LAG', config)).toEqual([
      'similarity: takes nothing with groupBy, which says itself what belongs together',
    ]);
  });

  test('is taken as existing configurations write it', () => {
    const config = {
      matchBaseAmount: true,
      matchBaseScore: 75,
      groupBy: { side: 'LEFT', listField: 'included_order_ids' },
      allowPartial: true,
      allocationToleranceMode: 'PERCENT',
      allocationToleranceValue: 0.005,
    } as const;
    expect(ruleSchema.parse({ type: 'EXACT', priority: 1, config }).config).toMatchObject({
      ...config,
      groupBy: { side: 'LEFT', listField: 'included_order_ids', separator: '|', names: 'external_id' },
      allocationToleranceValue: '0.005',
    });
  });
});

describe('the rules of a context', () => {
  const exact = { type: 'EXACT', priority: 1 };

  test.each([
    [[], [': takes at least one rule; got []']],
    [{}, [': takes a list of rules; got {}']],
    [[3], ['0: takes an object; got 3']],
    [[{ type: 'EXACT' }], ['0.priority: takes a whole number; got nothing']],
    [[{ ...exact, priority: 1.5 }], ['0.priority: takes a whole number; got 1.5']],
    [[{ ...exact, name: ' ' }], ['0.name: takes a text that is not blank; got ""']],
    [[{ ...exact, kind: 'x' }], ['0: "kind" is not a field of a rule, which takes name, priority, type, config']],
    [[exact, { ...exact }], ['1.priority: takes a number that no other rule has; got 1, which rule 1 has']],
  ])('%j', (rules, expected) => {
    expect(listProblems(rules)).toEqual(expected);
  });

  test('have a JSON Schema in which every field is described', () => {
    const schema = z.toJSONSchema(rulesSchema, { io: 'input' });
    const undescribed: string[] = [];
    for (const variant of (schema.items as z.core.JSONSchema.JSONSchema).oneOf ?? []) {
      const { config, ...fields } = variant.properties as Record<string, z.core.JSONSchema.JSONSchema>;
      for (const [name, field] of Object.entries({ config, ...fields, ...config?.properties })) {
        if (typeof field !== 'object' || !field.description) undescribed.push(name);
      }
    }
    expect(schema.items).toHaveProperty('oneOf.length', 3);
    expect(undescribed).toEqual([]);
  });
});
