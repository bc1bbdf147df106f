import type { PackedColumns, PackedText } from '../../workers/matching/engine/types.ts';

/** One side of a made-up reconciliation, in columns as the engine takes them. */
export interface MadeSide extends Omit<PackedColumns, 'field'> {
  readonly reference: PackedText;
}

const CURRENCIES = ['BRL', 'EUR', 'GBP', 'USD'];
const DAYS = 365;
const DAY_MS = 86_400_000;
const FIRST_DAY = Date.UTC(2025, 0, 1);
const CENT = 1_000_000; // in 10^-8
const HOT_AMOUNT = 4_999_900 * CENT;

/**
 * Two sides that differ as reconciliations do: 4 currencies, 10 million possible amounts, 365 days, unique references of 21 bytes. The right side
 * is the left one in another order; of it, 5 % are 0.03 off and 5 % two days later.
 *
 * @param hot whether a fifth of all records share currency and amount, 0.01 apart on the two sides, and have days of their own.
 */
export function madeSides(size: number, hot: boolean): { left: MadeSide; right: MadeSide } {
  const next = pseudoRandom(20_260_301);
  const [amount, currency, day] = [new Float64Array(size), new Int32Array(size), new Int32Array(size)];
  for (let i = 0; i < size; i++) {
    amount[i] = (1 + Math.floor(next() * 10_000_000)) * CENT;
    currency[i] = Math.floor(next() * CURRENCIES.length);
    day[i] = Math.floor(next() * DAYS);
  }
  const hotBelow = hot ? size / 5 : 0;
  const order = shuffled(size, next);
  const identity = Int32Array.from({ length: size }, (_, i) => i);
  const left = sideOf('L', identity, (i) => ({
    amount: i < hotBelow ? HOT_AMOUNT : (amount[i] as number),
    currency: i < hotBelow ? 0 : (currency[i] as number),
    day: day[i] as number,
  }));
  const right = sideOf('R', order, (i) => {
    if (i < hotBelow) return { amount: HOT_AMOUNT + CENT, currency: 0, day: Math.floor(next() * DAYS) };
    const fate = next();
    return {
      amount: (amount[i] as number) + (fate < 0.05 ? 3 * CENT : 0),
      currency: currency[i] as number,
      day: (day[i] as number) + (fate >= 0.05 && fate < 0.1 ? 2 : 0),
    };
  });
  return { left, right };
}

/** The made columns with their one field. */
export function withReference({ reference, ...columns }: MadeSide): PackedColumns {
  return { ...columns, field: (name) => (name === 'reference' ? reference : null) };
}

function sideOf(
  letter: string,
  order: Int32Array,
  valuesOf: (i: number) => { amount: number; currency: number; day: number },
): MadeSide {
  const size = order.length;
  const low = new Float64Array(size);
  const codes = new Int32Array(size);
  const timestamp = new Float64Array(size);
  for (let row = 0; row < size; row++) {
    const { amount, currency, day } = valuesOf(order[row] as number);
    low[row] = amount;
    codes[row] = currency;
    timestamp[row] = FIRST_DAY + day * DAY_MS + ((row * 7919) % DAY_MS);
  }
  return {
    size,
    externalId: texts(size, 16, (row) => `${letter}-${String(row).padStart(14, '0')}`),
    amount: { low },
    currency: { codes, names: CURRENCIES },
    timestamp,
    // What tells references apart is in their middle, as it is in those that banks hand out.
    reference: texts(
      size,
      21,
      (row) =>
        `E2E${String(((order[row] as number) * 7_368_787) % 9_999_991).padStart(8, '0')}${String(order[row]).padStart(10, '0')}`,
    ),
  };
}

function texts(size: number, length: number, textOf: (row: number) => string): PackedText {
  const bytes = Buffer.allocUnsafeSlow(size * length);
  for (let row = 0; row < size; row++) bytes.write(textOf(row), row * length, 'latin1');
  return { bytes, start: Uint32Array.from({ length: size + 1 }, (_, row) => row * length) };
}

function shuffled(size: number, next: () => number): Int32Array {
  const order = Int32Array.from({ length: size }, (_, i) => i);
  for (let i = size - 1; i > 0; i--) {
    const j = Math.floor(next() * (i + 1));
    const moved = order[i] as number;
    order[i] = order[j] as number;
    order[j] = moved;
  }
  return order;
}

/** The same numbers from 0 to 1 in every run (mulberry32). */
function pseudoRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
