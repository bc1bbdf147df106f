import type { Side } from './side.ts';

/** What must be equal on both sides: a value per row, or null for a row that matches nothing. */
export interface Key {
  readonly left: (row: number) => KeyValue;
  readonly right: (row: number) => KeyValue;
}

export type KeyValue = string | number | bigint | null;

/** A field that must be equal, trimmed. A record that doesn't have it matches nothing: absence is no evidence. */
export function fieldKey(left: Side, right: Side, name: string): Key {
  const of = (side: Side) => {
    const column = side.columns.field(name);
    return (row: number) => {
      const text = column[row]?.trim() ?? '';
      return text === '' ? null : text;
    };
  };
  return { left: of(left), right: of(right) };
}

/** The reference, trimmed; blank and missing are one, and match each other unless the reference must be set. */
export function referenceKey(
  left: Side,
  right: Side,
  config: { referenceField: string; caseInsensitive: boolean; referenceMustSet: boolean },
): Key {
  const of = (side: Side) => {
    const column = side.columns.field(config.referenceField);
    return (row: number) => {
      const text = column[row]?.trim() ?? '';
      if (text === '') return config.referenceMustSet ? null : '';
      return config.caseInsensitive ? foldAscii(text) : text;
    };
  };
  return { left: of(left), right: of(right) };
}

/** A–Z to a–z and nothing else: what other letters fold to depends on the language. */
function foldAscii(text: string): string {
  return /[A-Z]/.test(text) ? text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase()) : text;
}

/** Rows of both sides that share all keys. The rows of partition `p` are `rows[start[p]]` up to `rows[start[p + 1]]`. */
export interface Partitions {
  readonly count: number;
  readonly left: { readonly rows: Int32Array; readonly start: Int32Array };
  readonly right: { readonly rows: Int32Array; readonly start: Int32Array };
}

/**
 * Sorts rows into partitions of equal keys, in time linear in rows × keys. Rows with a null key, and right rows whose
 * keys no left row has, are in none.
 *
 * @param check called between keys; may throw to end the run.
 */
export function partition(
  leftRows: Int32Array,
  rightRows: Int32Array,
  keys: readonly Key[],
  check: () => void,
): Partitions {
  const leftCode = new Int32Array(leftRows.length);
  const rightCode = new Int32Array(rightRows.length);
  let count = 1;
  for (const key of keys) {
    check();
    count = refine(key, leftRows, leftCode, rightRows, rightCode);
  }
  return { count, left: bucketed(leftRows, leftCode, count), right: bucketed(rightRows, rightCode, count) };
}

const OUT = -1;

/** Splits the partitions that the codes say by one more key; returns how many there are now. */
function refine(
  key: Key,
  leftRows: Int32Array,
  leftCode: Int32Array,
  rightRows: Int32Array,
  rightCode: Int32Array,
): number {
  const values = new Map<KeyValue, number>();
  const pairs = new Map<number, number>();
  const stride = leftRows.length + 1; // more than there are different values or codes, and its square is a safe integer
  for (let i = 0; i < leftRows.length; i++) {
    if (leftCode[i] === OUT) continue;
    const value = key.left(leftRows[i] as number);
    if (value === null) {
      leftCode[i] = OUT;
      continue;
    }
    leftCode[i] = numbered(pairs, (leftCode[i] as number) * stride + numbered(values, value));
  }
  for (let i = 0; i < rightRows.length; i++) {
    if (rightCode[i] === OUT) continue;
    const value = key.right(rightRows[i] as number);
    const code = value === null ? undefined : values.get(value);
    rightCode[i] = code === undefined ? OUT : (pairs.get((rightCode[i] as number) * stride + code) ?? OUT);
  }
  return pairs.size;
}

function numbered<K>(numbers: Map<K, number>, value: K): number {
  let number = numbers.get(value);
  if (number === undefined) {
    number = numbers.size;
    numbers.set(value, number);
  }
  return number;
}

function bucketed(rows: Int32Array, code: Int32Array, count: number): { rows: Int32Array; start: Int32Array } {
  const start = new Int32Array(count + 1);
  for (const c of code) if (c !== OUT) start[c + 1] = (start[c + 1] as number) + 1;
  for (let c = 0; c < count; c++) start[c + 1] = (start[c + 1] as number) + (start[c] as number);
  const next = start.slice(0, count);
  const sorted = new Int32Array(start[count] as number);
  for (let i = 0; i < rows.length; i++) {
    const c = code[i] as number;
    if (c === OUT) continue;
    const at = next[c] as number;
    sorted[at] = rows[i] as number;
    next[c] = at + 1;
  }
  return { rows: sorted, start };
}
