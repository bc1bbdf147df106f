import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import { expect, test } from 'vitest';
import { dryRunText } from '../../../workers/cli/dry-run-text.ts';

const transaction = (source: string, externalId: string, amount: string, date = '2026-01-15T00:00:00.000Z') => ({
  source,
  externalId,
  amount,
  currency: 'EUR',
  date,
});

const result: JobResult<'matching.run'> = {
  context: 'bank',
  mode: 'DRY_RUN',
  left: 1203,
  right: 1210,
  matched: 1200,
  rules: [
    { rule: 'exact', type: 'EXACT', matched: 0, confirmed: 0, proposed: 0, candidates: 0, milliseconds: 1 },
    {
      rule: 'almost',
      type: 'TOLERANCE',
      matched: 1200,
      confirmed: 0,
      proposed: 1200,
      candidates: 1300,
      milliseconds: 2,
    },
  ],
  open: { left: 3, right: 10 },
  exceptions: { FEE_VARIANCE: 1, UNMATCHED: 12 },
  limited: 0,
  milliseconds: { reading: 1, matching: 2, explaining: 3, writing: 0 },
  memory: { columns: 1000, peak: 100_000_000 },
  samples: {
    matches: [
      {
        rule: 'almost',
        confidence: 71,
        left: [transaction('ledger', 'l1', '10.5')],
        right: [transaction('bank', 'r1', '10', '2026-01-16T12:30:00.000Z'), transaction('bank', 'r2', '0.5')],
        items: 5,
      },
    ],
    open: [
      {
        side: 'LEFT',
        transaction: transaction('ledger', 'l2\u001b[2J', '20'),
        reason: 'FEE_VARIANCE',
        nearMisses: [
          { transaction: transaction('bank', 'r3', '25'), rule: 'almost', apart: ['AMOUNT'] },
          { transaction: transaction('bank', 'r4', '26'), rule: 'almost', apart: ['AMOUNT', 'DATE'] },
        ],
      },
      {
        side: 'RIGHT',
        transaction: transaction('bank', 'r9', '7'),
        reason: 'SPLIT_INCOMPLETE',
        rule: 'almost',
        gap: '-3',
        nearMisses: [],
      },
    ],
  },
};

test('a dry run shows per rule what it would match, and what would stay open with what came near', () => {
  expect(dryRunText(result)).toBe(
    [
      'bank: looked at 1,203 left, 1,210 right; dry run, nothing was changed',
      'RULE    TYPE       GROUPS  CONFIRMED  PROPOSED',
      'exact   EXACT           0          0         0',
      'almost  TOLERANCE   1,200          0     1,200',
      'Open: 3 left, 10 right. Exceptions: FEE_VARIANCE 1, UNMATCHED 12.',
      '',
      'almost: 1 of 1,200, the least sure first',
      'CONFIDENCE  LEFT        AMOUNT    DATE        RIGHT    AMOUNT   DATE',
      '71          ledger:l1   10.5 EUR  2026-01-15  bank:r1  10 EUR   2026-01-16T12:30:00.000Z',
      '                                              bank:r2  0.5 EUR  2026-01-15',
      '            and 2 more',
      '',
      'Open: 2 of 13, those with the nearest misses first',
      'SIDE   RECORD        AMOUNT  DATE        REASON            NEAREST  AMOUNT  DATE        KEPT APART',
      'LEFT   ledger:l2[2J  20 EUR  2026-01-15  FEE_VARIANCE      bank:r3  25 EUR  2026-01-15  AMOUNT (almost)',
      '                                                           bank:r4  26 EUR  2026-01-15  AMOUNT DATE (almost)',
      'RIGHT  bank:r9       7 EUR   2026-01-15  SPLIT_INCOMPLETE                               almost, gap -3',
    ].join('\n'),
  );
});

test('a dry run that found nothing shows no samples', () => {
  const text = dryRunText({ ...result, matched: 0, samples: { matches: [], open: [] } });
  expect(text.split('\n')).toHaveLength(5);
});
