import { type Currency, decimalText, REAL } from './amounts.ts';
import { spoil } from './bad-records.ts';
import { planBankPayments } from './bank-payments.ts';
import { BANK_STATEMENT_CONTEXT } from './bank-statement-context.ts';
import { dateOf, instantOf } from './calendar.ts';
import { descriptionOf } from './descriptions.ts';
import { createDraw, type Draw } from './draw.ts';
import { type Fate, recordNumber, type SampleReconciliation, type SampleRecord } from './sample.ts';

const OPEN: Fate = { kind: 'OPEN', reason: 'UNMATCHED' };
/** All but the amount speaks for the two. */
const MISMATCH: Fate = { kind: 'OPEN', reason: 'FEE_VARIANCE' };
const DUPLICATE: Fate = { kind: 'OPEN', reason: 'DUPLICATE_TRANSACTION' };

const ledgerId = (index: number) => `POST-${recordNumber(index)}`;
const bankId = (index: number) => `LINE-${recordNumber(index)}`;
const endToEndId = (slot: number) => `E${recordNumber(slot)}-PIX`;

/** The reference as somebody typed it: one in ten with blanks around it or in lower case. */
function referenceAsTyped(draw: Draw, purpose: string, index: number, slot: number): string {
  const reference = `INV-${recordNumber(slot)}`;
  if (!draw.chance(`${purpose}/as typed`, index, 0.1)) return reference;
  return draw.pick(`${purpose}/typing`, index, [
    ` ${reference}`,
    `${reference}  `,
    `  ${reference} `,
    reference.toLowerCase(),
  ]);
}

/** Postings in a ledger (JSON) against the lines of a bank statement (CSV), `records` on each side. */
export function bankStatement(seed: number, records: number): SampleReconciliation {
  const draw = createDraw(seed);
  const plan = planBankPayments(draw, records);

  function ledgerRecord(index: number): SampleRecord {
    const make = (slot: number, amount: number, currency: Currency, day: number, scenario: string, fate: Fate) => ({
      externalId: ledgerId(index),
      values: {
        ledger_entry_id: ledgerId(index),
        end_to_end_id: scenario === 'missing_e2e_uses_reference_fallback' ? '' : endToEndId(slot),
        amount: decimalText(amount, currency),
        currency: currency.code,
        posted_at: instantOf(draw, 'posted at', index, day),
        description: descriptionOf(draw, 'posting', index, `Posting INV-${recordNumber(slot)}`),
        account_id: `ACCT-${draw.integer('account', slot, 1, 9)}`,
        reference: referenceAsTyped(draw, 'posting', index, slot),
        scenario,
      },
      fate,
    });
    const { part, offset } = plan.ledger.locate(index);
    switch (part) {
      case 'payments': {
        const { ledgerAmount, currency, postedDay, rule, ledgerScenario } = plan.payment(offset);
        const fate: Fate = rule ? { kind: 'MATCHED', partner: bankId(offset), rule } : MISMATCH;
        return make(offset, ledgerAmount, currency, postedDay, ledgerScenario, fate);
      }
      case 'only': {
        const { slot, currency, day } = plan.unpaired('ledger', offset);
        return make(slot, plan.lattice.amount(slot, currency), currency, day, 'ledger_only', OPEN);
      }
      case 'bad': {
        const slot = plan.ledgerSlots + plan.ledger.count('only') + offset;
        const record = make(slot, plan.lattice.amount(slot, REAL), REAL, offset, 'bad_record', OPEN);
        return spoil(record, offset, {
          external_id: 'ledger_entry_id',
          amount: 'amount',
          currency: 'currency',
          date: 'posted_at',
        });
      }
    }
  }

  function bankRecord(index: number): SampleRecord {
    const make = (slot: number, amount: number, currency: Currency, day: number, scenario: string, fate: Fate) => ({
      externalId: bankId(index),
      values: {
        bank_entry_id: bankId(index),
        end_to_end_id: scenario === 'missing_e2e_uses_reference_fallback' ? '' : endToEndId(slot),
        amount: decimalText(amount, currency),
        currency: currency.code,
        booking_date: dateOf(day),
        description: descriptionOf(draw, 'line', index, `Transfer INV-${recordNumber(slot)}`),
        bank_account: `BANK-${draw.integer('account', slot, 1, 9)}`,
        reference: referenceAsTyped(draw, 'line', index, slot),
        scenario,
      },
      fate,
    });
    const { part, offset } = plan.bank.locate(index);
    switch (part) {
      case 'payments': {
        const { bankAmount, currency, bookedDay, rule, bankScenario } = plan.payment(offset);
        const fate: Fate = rule ? { kind: 'MATCHED', partner: ledgerId(offset), rule } : MISMATCH;
        return make(offset, bankAmount, currency, bookedDay, bankScenario, fate);
      }
      case 'duplicates': {
        // Booked on the same day, where only its larger id puts it second, or a day later.
        const slot = plan.duplicatedPayment(offset);
        const { bankAmount, currency, postedDay, bookedDay, rule } = plan.payment(slot);
        const day = bookedDay + (offset % 3 === 1 ? 1 : 0);
        // Later than the rules allow, nothing shows that it is one.
        const isKnown = day - postedDay <= (rule === 'reference-tolerance' ? 0 : 1);
        return make(slot, bankAmount, currency, day, 'duplicate_bank_line', isKnown ? DUPLICATE : OPEN);
      }
      case 'fees': {
        const fee = -25 * draw.integer('fee', offset, 8, 80);
        return make(plan.feeSlots + offset, fee, REAL, draw.integer('fee day', offset, 0, 76), 'bank_fee_only', OPEN);
      }
      case 'only': {
        const { slot, currency, day } = plan.unpaired('bank', offset);
        return make(slot, plan.lattice.amount(slot, currency), currency, day, 'bank_only_unmatched', OPEN);
      }
      case 'bad': {
        const slot = plan.bankSlots + plan.bank.count('only') + offset;
        const record = make(slot, plan.lattice.amount(slot, REAL), REAL, offset, 'bad_record', OPEN);
        return spoil(record, offset, {
          external_id: 'bank_entry_id',
          amount: 'amount',
          currency: 'currency',
          date: 'booking_date',
        });
      }
    }
  }

  const ledgerOrder = draw.shuffle('ledger order', records);
  const bankOrder = draw.shuffle('bank order', records);
  return {
    name: 'bank-statement',
    context: BANK_STATEMENT_CONTEXT,
    rules: ['end-to-end-id', 'reference', 'reference-tolerance', 'lag'],
    left: {
      side: 'LEFT',
      file: 'ledger-export.json',
      format: 'JSON',
      lineEnd: '\n',
      records,
      record: (position) => ledgerRecord(ledgerOrder(position)),
    },
    right: {
      side: 'RIGHT',
      file: 'bank-statement.csv',
      format: 'CSV',
      lineEnd: '\r\n',
      records,
      record: (position) => bankRecord(bankOrder(position)),
    },
  };
}
