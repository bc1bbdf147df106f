import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { BadReason, Sample, Side } from '../../../workers/local/samples/sample.ts';
import { writeSamples } from '../../../workers/local/samples/write-samples.ts';
import { goodRecords, type NaiveRecord, type Row, rowsOf } from './naive-matching.ts';

const RECORDS = 2000;

let folder: string;
let card: Sample;
let bank: Sample;

beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'samples-'));
  [card, bank] = (await writeSamples(folder, { seed: 3, records: RECORDS })) as [Sample, Sample];
});

afterAll(() => rm(folder, { recursive: true }));

async function shares(sample: Sample, side: Side): Promise<Record<string, number>> {
  const byScenario = Map.groupBy(await rowsOf(sample, side), (row) => row.scenario ?? '');
  return Object.fromEntries([...byScenario].map(([scenario, rows]) => [scenario, rows.length / RECORDS]));
}

/** Every share within a hundredth, and no other scenario than these. */
function expectShares(actual: Record<string, number>, expected: Record<string, number>): void {
  expect(Object.keys(actual).sort()).toEqual(Object.keys(expected).sort());
  for (const [scenario, share] of Object.entries(expected)) {
    expect(Math.abs((actual[scenario] ?? 0) - share), scenario).toBeLessThan(0.01);
  }
}

describe('the scenarios', () => {
  test('of the card settlement have their shares', async () => {
    expectShares(await shares(card, 'LEFT'), {
      ledger_sale_candidate: 0.82,
      ledger_only: 0.12,
      ledger_chargeback: 0.06,
      bad_record: 0.0035,
    });
    expectShares(await shares(card, 'RIGHT'), {
      exact_order_and_authorization_match: 0.72,
      acquirer_only_settlement: 0.15,
      settlement_lag_candidate: 0.047,
      duplicate_settlement_candidate: 0.03,
      amount_tolerance_candidate: 0.019,
      fee_variance_candidate: 0.018,
      amount_mismatch_outside_tolerance: 0.016,
      bad_record: 0.0035,
    });
  });

  test('of the bank statement have their shares', async () => {
    expectShares(await shares(bank, 'LEFT'), {
      ledger_bank_candidate: 0.74,
      missing_e2e_uses_reference_fallback: 0.02,
      ledger_only: 0.24,
      bad_record: 0.0035,
    });
    expectShares(await shares(bank, 'RIGHT'), {
      bank_statement_match_candidate: 0.722,
      bank_only_unmatched: 0.16,
      bank_fee_only: 0.05,
      duplicate_bank_line: 0.03,
      amount_tolerance_candidate: 0.018,
      amount_mismatch_outside_tolerance: 0.011,
      missing_e2e_uses_reference_fallback: 0.009,
      bad_record: 0.0035,
    });
  });

  test('say which records stay open', async () => {
    const staysOpen = /only|duplicate|mismatch|chargeback/;
    for (const sample of [card, bank]) {
      const open = new Set([...sample.truth.open.left, ...sample.truth.open.right]);
      for (const record of await goodRecords(sample, 'RIGHT')) {
        expect(open.has(record.id), record.id).toBe(staysOpen.test(record.row.scenario ?? ''));
      }
      for (const record of await goodRecords(sample, 'LEFT')) {
        if (staysOpen.test(record.row.scenario ?? '')) expect(open, record.id).toContain(record.id);
      }
    }
  });
});

describe('what a reader must cope with', () => {
  let records: NaiveRecord[];

  beforeAll(async () => {
    const parts = [card, bank].flatMap((sample) => [goodRecords(sample, 'LEFT'), goodRecords(sample, 'RIGHT')]);
    records = (await Promise.all(parts)).flat();
  });

  const some = (holds: (row: Row) => boolean) => records.some((record) => holds(record.row));

  test('amounts have as many decimals as their currency', () => {
    const decimals: Record<string, RegExp> = {
      BRL: /^-?\d+\.\d{2}$/,
      USD: /^-?\d+\.\d{2}$/,
      EUR: /^-?\d+\.\d{2}$/,
      JPY: /^-?\d+$/,
      KWD: /^-?\d+\.\d{3}$/,
    };
    expect(new Set(records.map((record) => record.currency))).toEqual(new Set(Object.keys(decimals)));
    for (const { row, currency } of records) expect(row.gross_amount ?? row.amount).toMatch(decimals[currency] ?? '');
  });

  test('some times lie within a second of midnight UTC, some are printed with another day than their UTC day', () => {
    expect(some((row) => row.occurred_at?.endsWith('T23:59:59Z') ?? false)).toBe(true);
    expect(some((row) => row.posted_at?.endsWith('T00:00:00Z') ?? false)).toBe(true);
    for (const column of ['occurred_at', 'posted_at']) {
      const shifted = records.filter(({ row, time }) => {
        const printed = row[column]?.slice(0, 10);
        return printed !== undefined && printed !== new Date(time).toISOString().slice(0, 10);
      });
      expect(shifted.length, column).toBeGreaterThan(0);
    }
  });

  test('dates reach from one month into the next', () => {
    const isLastOfJanuary = ({ time }: NaiveRecord) => new Date(time).toISOString().startsWith('2026-01-31');
    expect(records.some(isLastOfJanuary)).toBe(true);
    expect(records.some(({ time }) => new Date(time).toISOString().startsWith('2026-02-28'))).toBe(true);
  });

  test('descriptions hold commas, quotes, line breaks, formulas, blanks on their ends and letters of other scripts', () => {
    for (const pattern of [/,/, /"/, /\n/, /^=/, /^ .* $/, /ã/, /東/]) {
      expect(
        some((row) => pattern.test(row.description ?? '')),
        String(pattern),
      ).toBe(true);
    }
  });

  test('references differ in the blanks around them and in case, order ids in the blanks', () => {
    expect(some((row) => /^\s+INV/.test(row.reference ?? ''))).toBe(true);
    expect(some((row) => /^inv/.test(row.reference ?? ''))).toBe(true);
    expect(some((row) => /^\s+WEB/.test(row.order_id ?? ''))).toBe(true);
  });

  test('the bank ends its lines with CR LF, the ledger with LF', async () => {
    expect((await readFile(bank.dataFiles.right, 'utf8')).slice(0, 200)).toContain('scenario\r\n');
    expect((await readFile(card.dataFiles.left, 'utf8')).slice(0, 200)).toMatch(/scenario\n/);
  });

  test('amounts come in both signs', () => {
    expect(some((row) => row.scenario === 'ledger_chargeback' && (row.amount?.startsWith('-') ?? false))).toBe(true);
    expect(some((row) => row.scenario === 'ledger_bank_candidate' && (row.amount?.startsWith('-') ?? false))).toBe(
      true,
    );
  });
});

describe('the bad records', () => {
  const isBad: Record<BadReason, (value: string | undefined) => boolean> = {
    MISSING: (value) => value === undefined || value === '',
    NOT_A_NUMBER: (value) => value !== undefined && value !== '' && !/^-?\d+(\.\d+)?$/.test(value),
    UNKNOWN_CURRENCY: (value) => value === 'ZZZ',
    // Date.parse moves the thirtieth of February into March; a calendar knows no such day.
    IMPOSSIBLE_DATE: (value) => value !== undefined && new Date(value).toISOString().slice(0, 10) !== value,
  };

  test('are bad for the reason given, in the field and row given', async () => {
    for (const sample of [card, bank]) {
      for (const side of ['LEFT', 'RIGHT'] as const) {
        const rows = await rowsOf(sample, side);
        const bad = sample.truth.bad.filter((record) => record.side === side);
        expect(new Set(bad.map(({ reason }) => reason))).toEqual(new Set(Object.keys(isBad)));
        for (const { row, column, reason } of bad) {
          expect(isBad[reason](rows[row - 1]?.[column]), `${side} row ${row}: ${reason}`).toBe(true);
        }
      }
    }
  });

  test('are all that is bad: every other record has an id, an amount, a currency and a date', async () => {
    for (const sample of [card, bank]) {
      for (const record of [...(await goodRecords(sample, 'LEFT')), ...(await goodRecords(sample, 'RIGHT'))]) {
        expect(record.row.scenario).not.toBe('bad_record');
        expect(record.id).not.toBe('');
        expect(Number.isFinite(record.time)).toBe(true);
      }
    }
  });
});
