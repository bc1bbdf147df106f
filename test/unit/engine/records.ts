import { type Rule, type RuleInput, rulesSchema } from '@matcher/shared/jobs/contracts/rules.ts';
import { parseAmount } from '@matcher/shared/money/decimal.ts';
import fc from 'fast-check';
import { matchOneToOne } from '../../../workers/matching/engine/match.ts';
import type { Columns, MatchInput, MatchOutput } from '../../../workers/matching/engine/types.ts';
import type { NaiveForbidden, NaivePair, NaiveRecord } from '../../support/naive-matching.ts';

/** A record in the way a person writes it in a test; what is left out is unremarkable. */
export interface Written {
  id?: string;
  source?: string;
  amount?: string;
  currency?: string;
  at?: string;
  amountBase?: string | null;
  baseCurrency?: string | null;
  fields?: Record<string, string | null>;
}

let unnamed = 0;

export function record(written: Written = {}): NaiveRecord {
  const externalId = written.id ?? `unnamed-${unnamed++}`;
  return {
    externalId,
    source: written.source ?? 'S',
    amount: parseAmount(written.amount ?? '100.00'),
    currency: written.currency ?? 'BRL',
    timestamp: Date.parse(written.at ?? '2026-03-10T12:00:00Z'),
    amountBase: typeof written.amountBase === 'string' ? parseAmount(written.amountBase) : null,
    baseCurrency: written.baseCurrency ?? null,
    fields: { external_id: externalId, ...written.fields },
  };
}

export function columns(records: readonly NaiveRecord[]): Columns {
  return {
    size: records.length,
    externalId: records.map((r) => r.externalId),
    source: records.map((r) => r.source),
    amount: records.map((r) => r.amount),
    currency: records.map((r) => r.currency),
    timestamp: records.map((r) => r.timestamp),
    amountBase: records.map((r) => r.amountBase),
    baseCurrency: records.map((r) => r.baseCurrency),
    field: (name) => records.map((r) => r.fields[name] ?? null),
  };
}

/** Rules with every default, with priorities as given or in the order given. */
export function rules(...written: (Omit<RuleInput, 'priority'> & { priority?: number })[]): Rule[] {
  return rulesSchema.parse(written.map((rule, index) => ({ priority: index + 1, ...rule })));
}

export function run(
  left: readonly NaiveRecord[],
  right: readonly NaiveRecord[],
  definition: Rule[],
  forbidden?: NaiveForbidden,
): MatchOutput {
  return matchOneToOne({
    left: columns(left),
    right: columns(right),
    rules: definition,
    forbidden: forbidden && inColumns(forbidden),
  });
}

export function inColumns(pairs: NaiveForbidden): NonNullable<MatchInput['forbidden']> {
  return { left: Int32Array.from(pairs, ([left]) => left), right: Int32Array.from(pairs, ([, right]) => right) };
}

/** Pairs of rows, from none to many of each row. */
export const anyForbidden = (left: number, right: number): fc.Arbitrary<NaiveForbidden> =>
  left === 0 || right === 0
    ? fc.constant([])
    : fc.array(fc.tuple(fc.nat({ max: left - 1 }), fc.nat({ max: right - 1 })), { maxLength: 30 });

export function pairsOf({ pairs }: MatchOutput): NaivePair[] {
  return Array.from({ length: pairs.size }, (_, i) => ({
    rule: pairs.rule[i] as number,
    left: pairs.left[i] as number,
    right: pairs.right[i] as number,
    confidence: pairs.confidence[i] as number,
  }));
}

/** Pairs by what they pair, in a fixed order, so that two answers can be compared. */
export function sorted(pairs: readonly NaivePair[]): NaivePair[] {
  return [...pairs].sort((a, b) => a.rule - b.rule || a.left - b.left || a.right - b.right);
}

/** Confidence of the one pair of two records, or undefined when they don't match. */
export function confidence(left: Written, right: Written, rule: Omit<RuleInput, 'priority'>): number | undefined {
  return pairsOf(run([record(left)], [record(right)], rules(rule)))[0]?.confidence;
}

/** Amounts that collide, nearly collide, cross zero, have 8 decimals or 20 digits. */
const amounts = fc
  .tuple(
    fc.constantFrom('0', '0.04', '10', '10.005', '-10', '1000', '999999999999.99999999', '-99999999999999999999'),
    fc.constantFrom('0', '0.00000001', '-0.00000001', '0.01', '-0.01', '0.05', '-0.05', '0.5', '-0.5', '3', '-7'),
  )
  .map(([base, off]) => parseAmount(base) + parseAmount(off));

/** Midnights and the last milliseconds before them, around the ends of months, a leap day and the epoch. */
const timestamps = fc
  .tuple(
    fc.constantFrom('2026-01-30', '2026-02-27', '2024-02-28', '2025-12-30', '1969-12-31'),
    fc.nat({ max: 4 }),
    fc.constantFrom(0, 1, 43_200_000, 86_399_999),
  )
  .map(([day, later, ms]) => Date.parse(`${day}T00:00:00Z`) + later * 86_400_000 + ms);

/** One of the amount or date generators, or a single value of it for the whole side: a hot key. */
const recordOf = (amount: fc.Arbitrary<bigint>, timestamp: fc.Arbitrary<number>): fc.Arbitrary<NaiveRecord> =>
  fc
    .record({
      externalId: fc.constantFrom('a', 'A', 'b', 'b1', 'B', 'é', '\u{1F4B0}', '10', '9'),
      source: fc.constantFrom('S1', 'S2', 's3'),
      amount,
      currency: fc.constantFrom('BRL', 'BRL', 'USD'),
      timestamp,
      reference: fc.constantFrom('R1', 'r1', ' r1 ', 'r2', '', '  ', null),
      order: fc.constantFrom('o1', 'o1', ' o1', 'O1', 'o2', '', null),
      amountBase: fc.option(fc.oneof(amount, fc.constantFrom(parseAmount('50'), parseAmount('50.02')))),
      baseCurrency: fc.constantFrom('EUR', 'EUR', 'USD', null),
      state: fc.constantFrom('captured', 'captured', ' captured', 'failed', '', null),
      text: fc.constantFrom('Padaria São José', 'PADARIA SAO JOSE', 'padaria s. jose', 'Jose Padaria', '?', '', null),
    })
    .map(({ reference, order, state, text, ...rest }) => ({
      ...rest,
      fields: { external_id: rest.externalId, reference, order, state, text },
    }));

const sideOf = (one: fc.Arbitrary<NaiveRecord>, maxLength: number) =>
  fc.uniqueArray(one, { maxLength, size: 'max', selector: (r) => `${r.source} ${r.externalId}` });

/** Both sides of a small reconciliation, of ordinary or hot records. */
export const sides = (maxLength: number) =>
  fc
    .tuple(
      fc.oneof(
        fc.constant(amounts),
        amounts.map((value) => fc.constant(value)),
      ),
      fc.oneof(
        fc.constant(timestamps),
        timestamps.map((value) => fc.nat({ max: 3 }).map((d) => value + d * 86_400_000)),
      ),
    )
    .chain(([amount, timestamp]) => {
      const one = recordOf(amount, timestamp);
      return fc.record({ left: sideOf(one, maxLength), right: sideOf(one, maxLength) });
    });

/**
 * Sides of one partition that spread over many days, with amounts that keep colliding. On a contrary one, what is near in
 * amount is far in days: many amounts lie between a left record and the first right one whose day fits.
 */
export const scattered = fc
  .record({
    days: fc.constantFrom(40, 120, 900),
    amounts: fc.constantFrom(1, 3, 30, 400),
    contrary: fc.boolean(),
  })
  .chain(({ days, amounts: different, contrary }) => {
    const side = (cents: (amount: number, day: number) => number) =>
      fc
        .array(
          fc.record({ amount: fc.nat({ max: different - 1 }), day: fc.nat({ max: days }), usd: fc.nat({ max: 4 }) }),
          { maxLength: 60, size: 'max' },
        )
        .map((all): NaiveRecord[] =>
          all.map(({ amount, day, usd }, index) => ({
            externalId: `${(index * 37) % 61}`,
            source: 'S',
            amount: parseAmount('100') + BigInt(cents(amount, day)) * parseAmount('0.01'),
            currency: usd === 0 ? 'USD' : 'BRL',
            timestamp: Date.UTC(2025, 0, 1 + day),
            amountBase: null,
            baseCurrency: null,
            fields: {},
          })),
        );
    return fc.record({
      left: side((amount) => (contrary ? amount % 3 : amount)),
      right: side((amount, day) => (contrary ? days - day : amount)),
    });
  });

const where = fc.constantFrom(
  undefined,
  undefined,
  { left: [{ field: 'state', operator: 'EQUALS' as const, value: 'captured' }] },
  { right: [{ field: 'state', operator: 'NOT_EQUALS' as const, value: 'failed' }] },
  { left: [{ field: 'state', operator: 'IN' as const, values: ['captured', ''] }] },
  { right: [{ field: 'state', operator: 'NOT_IN' as const, values: ['failed', ' captured '] }] },
  {
    left: [{ field: 'order', operator: 'EXISTS' as const }],
    right: [
      { field: 'reference', operator: 'NOT_EXISTS' as const },
      { field: 'state', operator: 'EXISTS' as const },
    ],
  },
);

const similarity = fc.constantFrom(
  undefined,
  undefined,
  { field: 'text', floor: '0' },
  { field: 'text', floor: '0.6' },
  { field: 'text', floor: '1' },
);

const base = {
  matchBaseAmount: fc.constantFrom(false, false, true),
  matchBaseCurrency: fc.constantFrom(false, false, true),
};

const common = {
  where,
  similarity,
  matchCurrency: fc.boolean(),
  matchFields: fc.constantFrom([], [], ['order'], ['order', 'reference']),
};

const referenceFields = {
  matchReference: fc.boolean(),
  referenceField: fc.constantFrom('reference', 'external_id'),
  caseInsensitive: fc.boolean(),
  referenceMustSet: fc.boolean(),
};

const tolerances = fc.constantFrom('0', '0.00000001', '0.01', '0.05', '0.50', '10');

const anyRule = fc.oneof(
  fc.record({
    type: fc.constant('EXACT' as const),
    config: fc.record({
      ...common,
      ...referenceFields,
      ...base,
      matchAmount: fc.boolean(),
      matchDate: fc.boolean(),
      datePrecision: fc.constantFrom('DAY' as const, 'TIMESTAMP' as const),
    }),
  }),
  fc.record({
    type: fc.constant('TOLERANCE' as const),
    config: fc.record({
      ...common,
      ...referenceFields,
      ...base,
      dateWindowDays: fc.constantFrom(0, 1, 3, 3650),
      absTolerance: tolerances,
      percentTolerance: fc.constantFrom('0', '0.005', '0.5', '1'),
      percentageBase: fc.constantFrom(
        'MAX' as const,
        'MIN' as const,
        'AVERAGE' as const,
        'LEFT' as const,
        'RIGHT' as const,
      ),
      roundingScale: fc.constantFrom(0, 1, 2, 8, 10),
      roundingMode: fc.constantFrom(
        'HALF_UP' as const,
        'BANKERS' as const,
        'FLOOR' as const,
        'CEIL' as const,
        'TRUNCATE' as const,
      ),
    }),
  }),
  fc.record({
    type: fc.constant('DATE_LAG' as const),
    config: fc
      .record({
        ...common,
        minDays: fc.nat({ max: 2 }),
        maxDays: fc.nat({ max: 4 }),
        inclusive: fc.boolean(),
        direction: fc.constantFrom('ABS' as const, 'LEFT_BEFORE_RIGHT' as const, 'RIGHT_BEFORE_LEFT' as const),
        feeTolerance: tolerances,
      })
      .map((config) => ({ ...config, maxDays: config.minDays + config.maxDays + (config.inclusive ? 0 : 2) })),
  }),
);

/** One to three rules that a user could save, in any order of priority. */
export const anyRules: fc.Arbitrary<Rule[]> = fc
  .tuple(fc.array(anyRule, { minLength: 1, maxLength: 3 }), fc.shuffledSubarray([1, 2, 3], { minLength: 3 }))
  .map(([written, priorities]) =>
    rulesSchema.safeParse(written.map((rule, index) => ({ ...rule, priority: priorities[index] }))),
  )
  .filter((parsed) => parsed.success)
  .map((parsed) => parsed.data as Rule[]);
