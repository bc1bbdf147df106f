import { compareTexts, rankOf, textAt } from './packed-text.ts';
import { radixSort } from './radix.ts';
import type { PackedColumns, PackedText } from './types.ts';

/** Below so many texts comparing them one by one is quicker than sorting by their bytes. */
const FEW = 48;

/**
 * The order in which equally near rows of a side come: by `externalId`, then source, then content, so that it does not depend on
 * the order of the rows. Only the rows that are asked for get a rank: most runs with references need few or none.
 */
export class RowOrder {
  /** Ranks of the rows asked for last, by `externalId` alone; equal ones share a rank. */
  readonly byId: Int32Array;
  /** Ranks of the rows asked for last; every row has its own. */
  readonly byRow: Int32Array;
  readonly #columns: PackedColumns;
  readonly #fieldNames: readonly string[];
  #fields: (PackedText | null)[] | undefined;

  /** @param fieldNames fields that the run's rules compare; they tell apart rows that are equal in everything else. */
  constructor(columns: PackedColumns, fieldNames: readonly string[]) {
    this.#columns = columns;
    this.#fieldNames = fieldNames;
    this.byId = new Int32Array(columns.size);
    this.byRow = new Int32Array(columns.size);
  }

  /** Ranks rows. @returns them in their order. */
  rank(rows: Int32Array): Int32Array {
    const { externalId } = this.#columns;
    // Rows in the order of memory: most sides come in the order of their ids, and then that is all.
    const sorted = rows.slice().sort();
    if (!this.#isInOrder(sorted)) sortByText(sorted, 0, externalId, (a, b) => this.compare(a, b));
    let rank = 0;
    for (let i = 0; i < sorted.length; i++) {
      const row = sorted[i] as number;
      if (i > 0 && compareTexts(externalId, sorted[i - 1] as number, externalId, row) !== 0) rank = i;
      this.byId[row] = rank;
      this.byRow[row] = i;
    }
    return sorted;
  }

  #isInOrder(rows: Int32Array): boolean {
    for (let i = 1; i < rows.length; i++) if (this.compare(rows[i - 1] as number, rows[i] as number) > 0) return false;
    return true;
  }

  compare(a: number, b: number): number {
    if (a === b) return 0;
    const { externalId, source, amount, timestamp, currency } = this.#columns;
    const byId = compareTexts(externalId, a, externalId, b);
    if (byId !== 0) return byId;
    if (source !== undefined) {
      const bySource = compare(source.names[source.codes[a] as number], source.names[source.codes[b] as number]);
      if (bySource !== 0) return bySource;
    }
    const byContent =
      compare(amount.high?.[a] ?? 0, amount.high?.[b] ?? 0) ||
      compare(amount.low[a], amount.low[b]) ||
      compare(timestamp[a], timestamp[b]) ||
      compare(currency.names[currency.codes[a] as number], currency.names[currency.codes[b] as number]);
    if (byContent !== 0) return byContent;
    this.#fields ??= this.#fieldNames.map((name) => this.#columns.field(name));
    for (const field of this.#fields) {
      const byField = field === null ? 0 : compare(textAt(field, a), textAt(field, b));
      if (byField !== 0) return byField;
    }
    return a - b; // nothing that any rule can see tells them apart
  }
}

function compare(a: string | number | undefined, b: string | number | undefined): number {
  if (a === b) return 0;
  return (a as string) < (b as string) ? -1 : 1;
}

/** Sorts rows whose texts agree in the first `depth` bytes: eight bytes at a time, and by comparing where few are left that agree. */
function sortByText(
  rows: Int32Array,
  depth: number,
  texts: PackedText,
  compareRows: (a: number, b: number) => number,
): void {
  if (rows.length <= FEW) {
    rows.sort(compareRows);
    return;
  }
  const from = depth + commonPrefix(rows, depth, texts);
  const [high, low] = [new Uint32Array(rows.length), new Uint32Array(rows.length)];
  let longer = false;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    const start = (texts.start[row] as number) + from;
    const end = texts.start[row + 1] as number;
    longer ||= end > start + 8;
    high[i] = fourBytes(texts.bytes, start, end);
    low[i] = fourBytes(texts.bytes, start + 4, end);
  }
  const order = radixSort([low, high], rows.length);
  const unsorted = rows.slice();
  for (let i = 0; i < rows.length; i++) rows[i] = unsorted[order[i] as number] as number;
  for (let first = 0, i = 1; i <= rows.length; i++) {
    const [a, b] = [order[first] as number, order[i] as number];
    if (i < rows.length && high[a] === high[b] && low[a] === low[b]) continue;
    if (i - first > 1) {
      const equal = rows.subarray(first, i);
      if (longer) sortByText(equal, from + 8, texts, compareRows);
      else equal.sort(compareRows);
    }
    first = i;
  }
}

/** How many bytes from `depth` on all texts share. */
function commonPrefix(rows: Int32Array, depth: number, { bytes, start }: PackedText): number {
  const first = rows[0] as number;
  const base = (start[first] as number) + depth;
  let length = Math.max(0, (start[first + 1] as number) - base);
  for (let i = 1; i < rows.length && length > 0; i++) {
    const from = (start[rows[i] as number] as number) + depth;
    const most = Math.min(length, (start[(rows[i] as number) + 1] as number) - from);
    length = 0;
    while (length < most && bytes[from + length] === bytes[base + length]) length++;
  }
  return length;
}

/** Four bytes as a number that ascends as texts do; a text's end comes before everything. */
function fourBytes(bytes: Uint8Array, start: number, end: number): number {
  let word = 0;
  for (let at = start; at < start + 4; at++) word = (word << 8) | (at < end ? rankOf(bytes[at] as number) : 0);
  return word >>> 0;
}
