import { type Currency, decimalText, REAL } from './amounts.ts';
import { spoil } from './bad-records.ts';
import { dateOf, instantOf } from './calendar.ts';
import { planCardSales } from './card-sales.ts';
import { CARD_SETTLEMENT_CONTEXT } from './card-settlement-context.ts';
import { descriptionOf } from './descriptions.ts';
import { createDraw } from './draw.ts';
import { type Fate, recordNumber, type SampleReconciliation, type SampleRecord } from './sample.ts';

const OPEN: Fate = { kind: 'OPEN', reason: 'UNMATCHED' };
/** All but the amount speaks for the two. */
const MISMATCH: Fate = { kind: 'OPEN', reason: 'FEE_VARIANCE' };
const DUPLICATE: Fate = { kind: 'OPEN', reason: 'DUPLICATE_TRANSACTION' };

const ledgerId = (index: number) => `SALE-${recordNumber(index)}`;
const acquirerId = (index: number) => `STL-${recordNumber(index)}`;
const orderId = (slot: number) => `WEB-${recordNumber(slot)}`;

/** Six letters or digits that no other slot has: the factor is coprime to 36⁶. */
function authorizationCode(slot: number): string {
  return ((slot * 1_234_567_891 + 987_654_321) % 36 ** 6).toString(36).toUpperCase().padStart(6, '0');
}

/** Card sales in a ledger (CSV) against what an acquirer settled (JSON), `records` on each side. */
export function cardSettlement(seed: number, records: number): SampleReconciliation {
  const draw = createDraw(seed);
  const plan = planCardSales(draw, records);
  const merchantId = (slot: number) => `SHOP-${String(draw.integer('merchant', slot, 1, 40)).padStart(3, '0')}`;

  function ledgerRecord(index: number): SampleRecord {
    const make = (slot: number, amount: number, currency: Currency, day: number, scenario: string, fate: Fate) => ({
      externalId: ledgerId(index),
      values: {
        ledger_tx_id: ledgerId(index),
        // Cash registers pad it now and then.
        order_id: draw.chance('padded', index, 1 / 50) ? ` ${orderId(slot)} ` : orderId(slot),
        amount: decimalText(amount, currency),
        currency: currency.code,
        occurred_at: instantOf(draw, 'occurred at', index, day),
        description: descriptionOf(
          draw,
          'sale',
          index,
          `${amount < 0 ? 'Chargeback of' : 'Card sale'} ${orderId(slot)}`,
        ),
        merchant_id: merchantId(slot),
        authorization_code: authorizationCode(slot),
        scenario,
      },
      fate,
    });
    const { part, offset } = plan.ledger.locate(index);
    switch (part) {
      case 'sales': {
        const { ledgerAmount, currency, occurredDay, rule, settledBy } = plan.sale(offset);
        const fate: Fate = rule ? { kind: 'MATCHED', partner: acquirerId(settledBy), rule } : MISMATCH;
        return make(offset, ledgerAmount, currency, occurredDay, 'ledger_sale_candidate', fate);
      }
      case 'chargebacks': {
        // It bears the keys of a settled sale, and takes back all of it or a half.
        const slot = plan.chargedBackSale(offset);
        const { ledgerAmount, currency, settledDay } = plan.sale(slot);
        const amount = draw.chance('in part', offset, 0.5) ? Math.ceil(ledgerAmount / 2) : ledgerAmount;
        return make(slot, -amount, currency, settledDay - 1, 'ledger_chargeback', OPEN);
      }
      case 'only': {
        const { slot, currency, amount, day } = plan.unpaired('ledger', offset);
        return make(slot, amount, currency, day, 'ledger_only', OPEN);
      }
      case 'bad': {
        const slot = plan.ledgerSlots + plan.ledger.count('only') + offset;
        const record = make(slot, plan.lattice.amount(slot, REAL), REAL, offset, 'bad_record', OPEN);
        return spoil(record, offset, {
          external_id: 'ledger_tx_id',
          amount: 'amount',
          currency: 'currency',
          date: 'occurred_at',
        });
      }
    }
  }

  function acquirerRecord(index: number): SampleRecord {
    const make = (slot: number, amount: number, currency: Currency, day: number, scenario: string, fate: Fate) => {
      // About 3 per cent; a fee that differs from the agreed one changes the net amount and never the gross.
      const unit = 10 ** currency.decimals;
      const extra = scenario === 'fee_variance_candidate' ? Math.ceil(unit * 1.25) : 0;
      const fee = Math.round((amount * 3) / 100) + extra;
      const isLate = scenario === 'settlement_lag_candidate';
      return {
        externalId: acquirerId(index),
        values: {
          acquirer_tx_id: acquirerId(index),
          order_id: isLate ? '' : orderId(slot),
          gross_amount: decimalText(amount, currency),
          net_amount: decimalText(amount - fee, currency),
          fee_amount: decimalText(fee, currency),
          currency: currency.code,
          settlement_date: dateOf(day),
          authorization_code: isLate ? '' : authorizationCode(slot),
          settlement_id: `BATCH-${dateOf(day)}`,
          merchant_id: merchantId(slot),
          scenario,
        },
        fate,
      };
    };

    /** The settlement of a sale, or its duplicate: whichever of the two this record is. */
    function settlement(saleIndex: number, duplicate: number): SampleRecord {
      const { currency, acquirerAmount, occurredDay, settledDay, scenario, rule, settledBy } = plan.sale(saleIndex);
      if (settledBy === index) {
        const fate: Fate = rule ? { kind: 'MATCHED', partner: ledgerId(saleIndex), rule } : MISMATCH;
        return make(saleIndex, acquirerAmount, currency, settledDay, scenario, fate);
      }
      const day = settledDay + plan.duplicateDelay(duplicate);
      // Without keys, or later than the rule allows, nothing shows that it is one.
      const isKnown = rule === 'exact' || (rule === 'tolerance' && day - occurredDay <= 4);
      const record = make(saleIndex, acquirerAmount, currency, day, scenario, isKnown ? DUPLICATE : OPEN);
      return { ...record, values: { ...record.values, scenario: 'duplicate_settlement_candidate' } };
    }

    const { part, offset } = plan.acquirer.locate(index);
    switch (part) {
      case 'sales':
        return settlement(offset, offset);
      case 'duplicates':
        return settlement(plan.duplicatedSale(offset), offset);
      case 'only': {
        const { slot, currency, amount, day } = plan.unpaired('acquirer', offset);
        return make(slot, amount, currency, day, 'acquirer_only_settlement', OPEN);
      }
      case 'bad': {
        const slot = plan.acquirerSlots + plan.acquirer.count('only') + offset;
        const record = make(slot, plan.lattice.amount(slot, REAL), REAL, offset, 'bad_record', OPEN);
        return spoil(record, offset, {
          external_id: 'acquirer_tx_id',
          amount: 'gross_amount',
          currency: 'currency',
          date: 'settlement_date',
        });
      }
    }
  }

  const ledgerOrder = draw.shuffle('ledger order', records);
  const acquirerOrder = draw.shuffle('acquirer order', records);
  return {
    name: 'card-settlement',
    context: CARD_SETTLEMENT_CONTEXT,
    rules: ['exact', 'tolerance', 'lag'],
    left: {
      side: 'LEFT',
      file: 'ledger.csv',
      format: 'CSV',
      lineEnd: '\n',
      records,
      record: (position) => ledgerRecord(ledgerOrder(position)),
    },
    right: {
      side: 'RIGHT',
      file: 'acquirer-settlement.json',
      format: 'JSON',
      lineEnd: '\n',
      records,
      record: (position) => acquirerRecord(acquirerOrder(position)),
    },
  };
}
