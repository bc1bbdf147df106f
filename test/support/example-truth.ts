import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse } from 'csv-parse/sync';

/**
 * What must become of the records of the two example reconciliations, from their data and their `scenario` labels and
 * without the engine. Where a label and the data disagree, the data decides, and the disagreement is listed.
 */
export interface ExampleTruth {
  /** External ids of the records that must match each other. */
  pairs: { left: string; right: string }[];
  /** External ids of the records that must stay open. */
  open: { left: string[]; right: string[] };
  disagreements: Disagreement[];
}

export interface Disagreement {
  side: 'LEFT' | 'RIGHT';
  externalId: string;
  /** What the record's label asks for, and what the data gives. */
  scenario: string;
  outcome: 'MATCHED' | 'OPEN';
  kind:
    | 'NO_PARTNER'
    | 'PARTNER_OUT_OF_TOLERANCE'
    | 'PARTNER_TAKEN_BY_NEARER'
    | 'DUPLICATE_IS_NEARER'
    | 'LAG_OUT_OF_RANGE';
  reason: string;
}

/** The folder beside the repository that holds the examples; a clone without it has no examples to test with. */
export const EXAMPLES_FOLDER = path.resolve(import.meta.dirname, '../../../shared/examples');
export const CARD_EXAMPLE = path.join(EXAMPLES_FOLDER, 'context-01-card-acquirer-settlement');
export const BANK_EXAMPLE = path.join(EXAMPLES_FOLDER, 'context-02-bank-statement-vs-ledger');

export const hasExamples = (): boolean => existsSync(CARD_EXAMPLE) && existsSync(BANK_EXAMPLE);

interface ExampleRecord {
  externalId: string;
  scenario: string;
  /** What a partner must share at least one of; a blank key is none. */
  keys: string[];
  /** In hundredths; both examples have two decimals. */
  amount: number;
  currency: string;
  /** Days since 1970-01-01, UTC. */
  day: number;
}

interface Expectations {
  /** Most days from the left record to its partner. */
  longestLag: number;
  /** Whether records of equal amount match whatever the lag. */
  exactIgnoresDate: boolean;
  mustStayOpen: ReadonlySet<string>;
  lagLabel: string | undefined;
}

const TOLERANCE = 5;

type Row = Record<string, string>;

export async function cardExampleTruth(folder = CARD_EXAMPLE): Promise<ExampleTruth> {
  const ledger: Row[] = await csvRows(path.join(folder, 'ledger-midaz.csv'));
  const acquirer: Row[] = JSON.parse(await readFile(path.join(folder, 'acquirer-settlement.json'), 'utf8'));
  const key = (row: Row) => [`${row.order_id} with ${row.authorization_code}`];
  return derive(
    ledger.map((row) => exampleRecord(row, 'ledger_tx_id', 'amount', 'occurred_at', key)),
    acquirer.map((row) => exampleRecord(row, 'acquirer_tx_id', 'gross_amount', 'settlement_date', key)),
    {
      longestLag: 4,
      exactIgnoresDate: true,
      mustStayOpen: new Set([
        'ledger_only',
        'ledger_chargeback',
        'acquirer_only_settlement',
        'duplicate_settlement_candidate',
        'amount_mismatch_outside_tolerance',
      ]),
      lagLabel: 'settlement_lag_candidate',
    },
  );
}

export async function bankExampleTruth(folder = BANK_EXAMPLE): Promise<ExampleTruth> {
  const ledger: Row[] = JSON.parse(await readFile(path.join(folder, 'midaz-ledger-export.json'), 'utf8'));
  const bank: Row[] = await csvRows(path.join(folder, 'bank-statement.csv'));
  const keys = (row: Row) => [row.end_to_end_id ?? '', row.reference ?? ''].filter((key) => key !== '');
  return derive(
    ledger.map((row) => exampleRecord(row, 'ledger_entry_id', 'amount', 'posted_at', keys)),
    bank.map((row) => exampleRecord(row, 'bank_entry_id', 'amount', 'booking_date', keys)),
    {
      longestLag: 1,
      exactIgnoresDate: false,
      mustStayOpen: new Set([
        'ledger_only',
        'bank_only_unmatched',
        'bank_fee_only',
        'duplicate_bank_line',
        'amount_mismatch_outside_tolerance',
      ]),
      lagLabel: undefined,
    },
  );
}

/**
 * Of all records that share a key and agree in amount and lag, the nearest get each other: smaller amount difference, then
 * fewer days, then the smaller ids. No record of the examples has one candidate nearer in amount and another nearer in
 * days, so this is also the order of the contexts' rules. Then each record's outcome is held against its label.
 */
function derive(left: ExampleRecord[], right: ExampleRecord[], expectations: Expectations): ExampleTruth {
  const byKey = Map.groupBy(
    right.flatMap((record) => record.keys.map((key) => ({ key, record }))),
    ({ key }) => key,
  );
  const sharing = left.flatMap((one) => {
    const others = new Set(one.keys.flatMap((key) => byKey.get(key)?.map(({ record }) => record) ?? []));
    return [...others].map((other) => ({ left: one, right: other, ...distance(one, other) }));
  });
  const candidates = sharing
    .filter(({ left: one, right: other, difference, lag }) => {
      if (one.currency !== other.currency || difference > TOLERANCE) return false;
      return (difference === 0 && expectations.exactIgnoresDate) || (lag >= 0 && lag <= expectations.longestLag);
    })
    .sort(
      (a, b) =>
        a.difference - b.difference ||
        Math.abs(a.lag) - Math.abs(b.lag) ||
        byId(a.left, b.left) ||
        byId(a.right, b.right),
    );
  const partner = new Map<ExampleRecord, ExampleRecord>();
  for (const { left: one, right: other } of candidates) {
    if (partner.has(one) || partner.has(other)) continue;
    partner.set(one, other);
    partner.set(other, one);
  }

  const disagreements: Disagreement[] = [];
  for (const [side, records] of [
    ['LEFT', left],
    ['RIGHT', right],
  ] as const) {
    for (const record of records) {
      const met = sharing.filter((pair) => (side === 'LEFT' ? pair.left : pair.right) === record);
      const found = disagreement(record, partner, met, expectations);
      if (found === undefined) continue;
      const outcome = partner.has(record) ? 'MATCHED' : 'OPEN';
      disagreements.push({ side, externalId: record.externalId, scenario: record.scenario, outcome, ...found });
    }
  }
  const openIds = (records: ExampleRecord[]) => records.filter((one) => !partner.has(one)).map((one) => one.externalId);
  return {
    pairs: left.flatMap((one) => {
      const other = partner.get(one);
      return other ? [{ left: one.externalId, right: other.externalId }] : [];
    }),
    open: { left: openIds(left), right: openIds(right) },
    disagreements,
  };
}

interface Meeting {
  left: ExampleRecord;
  right: ExampleRecord;
  difference: number;
  lag: number;
}

/** Why a record's outcome is not what its label says; undefined when it is. */
function disagreement(
  record: ExampleRecord,
  partner: ReadonlyMap<ExampleRecord, ExampleRecord>,
  met: Meeting[],
  { mustStayOpen, lagLabel, longestLag }: Expectations,
): Pick<Disagreement, 'kind' | 'reason'> | undefined {
  const got = partner.get(record);
  if (mustStayOpen.has(record.scenario)) {
    if (got === undefined) return undefined;
    const reason = `no record is nearer to ${got.externalId}, not even the one that it repeats`;
    return { kind: 'DUPLICATE_IS_NEARER', reason };
  }
  const other = (meeting: Meeting) => (meeting.left === record ? meeting.right : meeting.left);
  if (got !== undefined) {
    const lag = met.find((meeting) => other(meeting) === got)?.lag ?? 0;
    if (record.scenario !== lagLabel || lag <= longestLag) return undefined;
    return {
      kind: 'LAG_OUT_OF_RANGE',
      reason: `settled after ${lag} days, more than ${longestLag}; its keys and amount are equal, and that decides`,
    };
  }
  const [first] = met;
  if (first === undefined) return { kind: 'NO_PARTNER', reason: `no record shares ${record.keys.join(' or ')}` };
  const taken = met.find((meeting) => partner.has(other(meeting)));
  if (taken !== undefined) {
    const taker = partner.get(other(taken));
    const reason = `${taker?.externalId} is nearer to ${other(taken).externalId}: in amount or in days`;
    return { kind: 'PARTNER_TAKEN_BY_NEARER', reason };
  }
  const reason = `its amount is ${(first.difference / 100).toFixed(2)} off that of ${other(first).externalId}`;
  return { kind: 'PARTNER_OUT_OF_TOLERANCE', reason };
}

function distance(left: ExampleRecord, right: ExampleRecord): { difference: number; lag: number } {
  return { difference: Math.abs(left.amount - right.amount), lag: right.day - left.day };
}

function byId(a: ExampleRecord, b: ExampleRecord): number {
  return a.externalId < b.externalId ? -1 : a.externalId > b.externalId ? 1 : 0;
}

function exampleRecord(
  row: Row,
  id: string,
  amount: string,
  date: string,
  keys: (row: Row) => string[],
): ExampleRecord {
  const of = (column: string) => {
    const value = row[column];
    if (value === undefined) throw new Error(`An example record has no ${column}: ${JSON.stringify(row)}`);
    return value;
  };
  if (!/^-?\d+\.\d\d$/.test(of(amount))) throw new Error(`${of(id)}: ${of(amount)} does not have two decimals.`);
  return {
    externalId: of(id),
    scenario: of('scenario'),
    keys: keys(row),
    amount: Number(of(amount).replace('.', '')),
    currency: of('currency'),
    day: Math.floor(Date.parse(of(date)) / 86_400_000),
  };
}

async function csvRows(file: string): Promise<Row[]> {
  return parse(await readFile(file), { columns: true });
}
