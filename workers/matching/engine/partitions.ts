import { fewNumbers, type Key, type KeyColumn, NONE, UNLIKE, withNumbersJoined } from './keys.ts';

/** Which rows of both sides share all keys. */
export interface Partitions {
  readonly count: number;
  readonly left: PartitionedSide;
  readonly right: PartitionedSide;
}

export interface PartitionedSide {
  readonly rows: Int32Array;
  /** Along the rows: the partition of each, `NONE` when it has no key. On the right it may be `NONE` when no left row has it. */
  readonly partition: Int32Array;
  /** Per partition: how many rows it has. */
  readonly count: Int32Array;
  /** Per partition: the first of its rows, `NONE` when it has none. */
  readonly first: Int32Array;
}

/**
 * Sorts rows into partitions of equal keys, in time linear in rows × keys: an open-addressing hash table on the first left row
 * of each partition. Equality is verified on the columns; the hash only finds. What touches memory at random is done in short
 * loops over all rows, one column at a time, so that many reads are under way at once.
 *
 * @param check called between steps; may throw to end the run.
 */
export function partition(
  leftRows: Int32Array,
  rightRows: Int32Array,
  givenKeys: readonly Key[],
  check: () => void,
): Partitions {
  const keys = withNumbersJoined(givenKeys);
  const few = fewNumbers(keys);
  if (few) return byNumber(leftRows, rightRows, few);
  const leftKeys = keys.map((key) => key.left);
  const rightKeys = keys.map((key) => key.right);
  const leftHashes = hashed(leftRows, leftKeys, check);
  const rightHashes = hashed(rightRows, rightKeys, check);
  check();
  const table = new HashTable(leftRows.length);
  const left = insertAll(table, leftRows, leftHashes, leftKeys);
  check();
  const first = left.first;
  const found = table.findAll(rightHashes);
  check();
  const candidates = found.map((partition) => (partition === NONE ? NONE : (first[partition] as number)));
  for (const key of keys) {
    check();
    key.right.verify(rightRows, candidates, key.left);
  }
  check();
  const count = new Int32Array(left.count.length);
  const rightFirst = new Int32Array(left.count.length).fill(NONE);
  for (let i = 0; i < rightRows.length; i++) {
    const row = rightRows[i] as number;
    if (candidates[i] === UNLIKE) {
      // Another key has the same hash.
      const hash = rightHashes.hashes[i] as number;
      let next = table.first(hash);
      while (next !== NONE && !allEqual(rightKeys, row, leftKeys, first[next] as number)) next = table.next(hash);
      found[i] = next;
    }
    const own = found[i] as number;
    if (own === NONE) continue;
    if (count[own] === 0) rightFirst[own] = row;
    count[own] = (count[own] as number) + 1;
  }
  return { count: left.partitions, left, right: { rows: rightRows, partition: found, count, first: rightFirst } };
}

/** Each number is a partition. */
function byNumber(
  leftRows: Int32Array,
  rightRows: Int32Array,
  { left, right, least, size }: NonNullable<ReturnType<typeof fewNumbers>>,
): Partitions {
  const sideOf = (rows: Int32Array, values: Int32Array | Float64Array) => {
    const partition = new Int32Array(rows.length);
    const count = new Int32Array(size);
    const first = new Int32Array(size).fill(NONE);
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      const own = (values[row] as number) - least;
      partition[i] = own;
      if (count[own] === 0) first[own] = row;
      count[own] = (count[own] as number) + 1;
    }
    return { rows, partition, count, first };
  };
  return { count: size, left: sideOf(leftRows, left), right: sideOf(rightRows, right) };
}

interface Hashes {
  readonly hashes: Int32Array;
  /** 1 for a row that can have no partner. */
  readonly out: Uint8Array;
}

function hashed(rows: Int32Array, columns: readonly KeyColumn[], check: () => void): Hashes {
  const hashes = new Int32Array(rows.length);
  const out = new Uint8Array(rows.length);
  for (const column of columns) {
    check();
    column.mix(rows, hashes, out);
  }
  return { hashes, out };
}

function insertAll(
  table: HashTable,
  rows: Int32Array,
  { hashes, out }: Hashes,
  keys: readonly KeyColumn[],
): PartitionedSide & { partitions: number } {
  const partition = new Int32Array(rows.length);
  const count = new Int32Array(rows.length);
  const first = new Int32Array(rows.length);
  let partitions = 0;
  for (let i = 0; i < rows.length; i++) {
    if (out[i] === 1) {
      partition[i] = NONE;
      continue;
    }
    const row = rows[i] as number;
    const hash = hashes[i] as number;
    let own = table.first(hash);
    while (own !== NONE && !allEqual(keys, row, keys, first[own] as number)) own = table.next(hash);
    if (own === NONE) {
      own = partitions++;
      first[own] = row;
      table.insert(hash, own);
    }
    partition[i] = own;
    count[own] = (count[own] as number) + 1;
  }
  return { rows, partition, count, first, partitions };
}

function allEqual(a: readonly KeyColumn[], rowA: number, b: readonly KeyColumn[], rowB: number): boolean {
  for (let k = 0; k < a.length; k++) {
    if (!(a[k] as KeyColumn).equals(rowA, b[k] as KeyColumn, rowB)) return false;
  }
  return true;
}

/** Hash → numbers, in one array of (number + 1, hash), at most half full. */
class HashTable {
  readonly #mask: number;
  readonly #slots: Int32Array;
  #slot = 0;

  constructor(most: number) {
    const slots = 2 ** Math.ceil(Math.log2(Math.max(2 * most, 2)));
    this.#mask = slots - 1;
    this.#slots = new Int32Array(2 * slots);
  }

  /** The first number that was inserted with this hash; `NONE` when there is none. */
  first(hash: number): number {
    this.#slot = (hash ^ (hash >>> 16)) & this.#mask;
    return this.#find(hash);
  }

  /** The next one after the one found last. */
  next(hash: number): number {
    this.#slot = (this.#slot + 1) & this.#mask;
    return this.#find(hash);
  }

  /** Inserts behind all numbers of this hash: at the end that `first` and `next` came to. */
  insert(hash: number, number: number): void {
    this.#slots[2 * this.#slot] = number + 1;
    this.#slots[2 * this.#slot + 1] = hash;
  }

  /** `first` of each; `NONE` for those that can have no partner. */
  findAll({ hashes, out }: Hashes): Int32Array {
    const slots = this.#slots;
    const mask = this.#mask;
    const found = new Int32Array(hashes.length);
    for (let i = 0; i < hashes.length; i++) {
      const hash = hashes[i] as number;
      let slot = (hash ^ (hash >>> 16)) & mask;
      while (slots[2 * slot] !== 0 && slots[2 * slot + 1] !== hash) slot = (slot + 1) & mask;
      found[i] = out[i] === 1 ? NONE : (slots[2 * slot] as number) - 1;
    }
    return found;
  }

  #find(hash: number): number {
    const slots = this.#slots;
    let slot = this.#slot;
    for (;;) {
      const found = slots[2 * slot] as number;
      if (found === 0 || slots[2 * slot + 1] === hash) {
        this.#slot = slot;
        return found - 1;
      }
      slot = (slot + 1) & this.#mask;
    }
  }
}
