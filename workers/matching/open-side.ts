import { INCOMPLETE, uint32At } from '@matcher/shared/postgres/copy-binary-read.ts';
import { amountTexts, codeTexts, dayTexts } from './derived-texts.ts';
import { radixSort } from './engine/radix.ts';
import type { PackedColumns, PackedText } from './engine/types.ts';
import { AmountColumn, CodeColumn, enlarged, TextColumn, TimeColumn } from './growing-columns.ts';

/** Which transaction each row is: ids in two words, since numbers of 64 bits are slow to read in a loop. */
export interface RowIds {
  readonly high: Uint32Array;
  readonly low: Uint32Array;
}

/** One side's open transactions, as the engine takes them, and which transaction each row is. */
export interface OpenSide {
  readonly size: number;
  readonly columns: PackedColumns;
  readonly ids: RowIds;
  /** Rows in the order of their ids; undefined when that is the order in which they stand. */
  readonly order: Int32Array | undefined;
  /** The first so many rows have an exception already. */
  readonly known: number;
  /** Of all columns. */
  readonly bytes: number;
}

/** What is read of each transaction, in this order, before the fields that the rules name. */
export const FIXED_COLUMNS = 'id, external_id, amount, currency, occurred_at, amount_base, base_currency';

/** A side's columns while they are read. */
export class OpenColumns {
  size = 0;
  known = 0;
  #capacity: number;
  #idHigh: Uint32Array;
  #idLow: Uint32Array;
  #isOrdered = true;
  #source: Int32Array;
  readonly #sourceNames: string[] = [];
  readonly #externalId: TextColumn;
  readonly #amount: AmountColumn;
  readonly #currency: CodeColumn;
  readonly #timestamp: TimeColumn;
  readonly #amountBase: AmountColumn;
  readonly #baseCurrency: CodeColumn;
  readonly #texts: readonly TextColumn[];
  readonly #names: readonly string[];

  /** @param names of the fields that are read behind the fixed columns, in their order. */
  constructor(capacity: number, names: readonly string[]) {
    this.#capacity = capacity;
    this.#idHigh = new Uint32Array(capacity);
    this.#idLow = new Uint32Array(capacity);
    this.#source = new Int32Array(capacity);
    this.#externalId = new TextColumn(capacity);
    this.#amount = new AmountColumn(capacity);
    this.#currency = new CodeColumn(capacity);
    this.#timestamp = new TimeColumn(capacity);
    this.#amountBase = new AmountColumn(capacity);
    this.#baseCurrency = new CodeColumn(capacity);
    this.#texts = names.map(() => new TextColumn(capacity));
    this.#names = names;
  }

  /** @returns the number that stands for a source's name in `take`. */
  sourceCode(name: string): number {
    return this.#sourceNames.push(name) - 1;
  }

  /** Takes one row, see `TakeRow`. */
  take(source: number, bytes: Uint8Array, at: number, end: number): number {
    const row = this.size;
    if (row === this.#capacity) this.#enlarge();
    if (at + 12 > end) return INCOMPLETE;
    const high = uint32At(bytes, at + 4);
    const low = uint32At(bytes, at + 8);
    let next = this.#externalId.take(row, bytes, at + 12, end);
    if (next >= 0) next = this.#amount.take(row, bytes, next, end);
    if (next >= 0) next = this.#currency.take(row, bytes, next, end);
    if (next >= 0) next = this.#timestamp.take(row, bytes, next, end);
    if (next >= 0) next = this.#amountBase.take(row, bytes, next, end);
    if (next >= 0) next = this.#baseCurrency.take(row, bytes, next, end);
    for (let i = 0; next >= 0 && i < this.#texts.length; i++) {
      next = (this.#texts[i] as TextColumn).take(row, bytes, next, end);
    }
    if (next < 0) return INCOMPLETE;
    this.#idHigh[row] = high;
    this.#idLow[row] = low;
    this.#source[row] = source;
    if (row > 0) {
      const lastHigh = this.#idHigh[row - 1] as number;
      this.#isOrdered &&= lastHigh < high || (lastHigh === high && (this.#idLow[row - 1] as number) < low);
    }
    this.size = row + 1;
    return next;
  }

  /** The columns, whole; nothing can be taken any more. */
  done(): OpenSide {
    const { size, known } = this;
    const ids = { high: this.#idHigh.subarray(0, size), low: this.#idLow.subarray(0, size) };
    const externalId = this.#externalId.done(size);
    const amount = this.#amount.done(size);
    const currency = this.#currency.done(size);
    const timestamp = this.#timestamp.done(size);
    const amountBase = this.#amountBase.optional(size);
    const baseCurrency = this.#baseCurrency.optional(size);
    const source = { codes: this.#source.subarray(0, size), names: this.#sourceNames };
    const read = new Map(this.#names.map((name, i) => [name, (this.#texts[i] as TextColumn).done(size)]));
    const fields = new Map<string, PackedText | null>([['external_id', externalId]]);
    for (const [name, texts] of read) fields.set(name, texts.bytes.length > 0 ? texts : null);
    const derived = new Map<string, () => PackedText>([
      ['amount', () => amountTexts(amount, size)],
      ['currency', () => codeTexts(currency, size)],
      ['date', () => dayTexts(timestamp)],
    ]);
    const field = (name: string): PackedText | null => {
      let found = fields.get(name);
      if (found === undefined) {
        found = derived.get(name)?.() ?? null;
        fields.set(name, found);
      }
      return found;
    };
    const arrays = [
      ids.high,
      ids.low,
      source.codes,
      amount.low,
      amount.high,
      currency.codes,
      timestamp,
      amountBase?.low,
      amountBase?.high,
      amountBase?.missing,
      baseCurrency?.codes,
      ...[externalId, ...read.values()].flatMap(({ bytes, start }) => [bytes, start]),
    ];
    return {
      size,
      columns: { size, externalId, amount, currency, timestamp, source, amountBase, baseCurrency, field },
      ids,
      order: this.#isOrdered ? undefined : radixSort([ids.low, ids.high], size),
      known,
      bytes: arrays.reduce((sum, array) => sum + (array?.byteLength ?? 0), 0),
    };
  }

  /** For more rows than were known of. */
  #enlarge(): void {
    const capacity = Math.max(1024, Math.ceil(this.#capacity * 1.5));
    this.#capacity = capacity;
    this.#idHigh = enlarged(this.#idHigh, capacity);
    this.#idLow = enlarged(this.#idLow, capacity);
    this.#source = enlarged(this.#source, capacity);
    const columns = [this.#externalId, this.#amount, this.#currency, this.#timestamp];
    for (const column of [...columns, this.#amountBase, this.#baseCurrency, ...this.#texts]) column.enlarge(capacity);
  }
}

/** A transaction's id as text. */
export function idText({ high, low }: RowIds, row: number): string {
  const [upper, lower] = [high[row] as number, low[row] as number];
  if (upper < 2 ** 21) return String(upper * 2 ** 32 + lower);
  return String(BigInt(upper) * 2n ** 32n + BigInt(lower));
}
