import { describe, expect, test } from 'vitest';
import { bankExampleTruth, cardExampleTruth, type ExampleTruth, hasExamples } from '../../support/example-truth.ts';

function counts({ disagreements }: ExampleTruth): Record<string, number> {
  const groups = Map.groupBy(disagreements, ({ scenario, outcome, kind }) => `${scenario} ${outcome} ${kind}`);
  return Object.fromEntries([...groups].map(([what, those]) => [what, those.length]));
}

describe.skipIf(!hasExamples())('the examples beside the repository', () => {
  test('card acquirer: 785 pairs, and labels that the data contradicts', async () => {
    const truth = await cardExampleTruth();
    expect(truth.pairs).toHaveLength(785);
    expect(truth.open.left).toHaveLength(215);
    expect(truth.open.right).toHaveLength(215);
    expect(counts(truth)).toEqual({
      'ledger_sale_candidate OPEN PARTNER_OUT_OF_TOLERANCE': 15,
      'ledger_sale_candidate OPEN NO_PARTNER': 20,
      'exact_order_and_authorization_match OPEN NO_PARTNER': 16,
      'settlement_lag_candidate OPEN NO_PARTNER': 2,
      'fee_variance_candidate OPEN NO_PARTNER': 1,
      'settlement_lag_candidate MATCHED LAG_OUT_OF_RANGE': 16,
      'amount_tolerance_candidate OPEN PARTNER_TAKEN_BY_NEARER': 1,
      'settlement_lag_candidate OPEN PARTNER_TAKEN_BY_NEARER': 1,
      'duplicate_settlement_candidate MATCHED DUPLICATE_IS_NEARER': 2,
    });
  });

  test('bank statement: 750 pairs, and labels that the data contradicts', async () => {
    const truth = await bankExampleTruth();
    expect(truth.pairs).toHaveLength(750);
    expect(truth.open.left).toHaveLength(250);
    expect(truth.open.right).toHaveLength(250);
    expect(counts(truth)).toEqual({
      'ledger_bank_candidate OPEN PARTNER_OUT_OF_TOLERANCE': 10,
      'ledger_bank_candidate OPEN NO_PARTNER': 100,
      'missing_e2e_uses_reference_fallback OPEN NO_PARTNER': 20,
      'bank_statement_match_candidate OPEN PARTNER_TAKEN_BY_NEARER': 3,
      'amount_tolerance_candidate OPEN PARTNER_TAKEN_BY_NEARER': 1,
      'duplicate_bank_line MATCHED DUPLICATE_IS_NEARER': 5,
    });
  });
});
