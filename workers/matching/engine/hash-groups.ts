/** In no group, or no partition. */
export const NONE = -1;

/** Rows and, along them, the hashes of their keys. */
export interface Hashes {
  readonly rows: Int32Array;
  readonly hashes: Int32Array;
  /** 1 for a row that can have no partner. */
  readonly out: Uint8Array;
}

/** Which rows of both sides have the same hash; only hashes of the left side make a group. */
export interface HashGroups {
  readonly count: number;
  readonly left: GroupedSide;
  readonly right: GroupedSide;
  /** Left rows that are not the first of their group. */
  readonly later: Int32Array;
}

export interface GroupedSide {
  /** By row: its group, `NONE` when it is in none or was not given. */
  readonly group: Int32Array;
  /** Per group: how many rows it has. */
  readonly count: Int32Array;
  /** Per group: the first of its rows, `NONE` when it has none. */
  readonly first: Int32Array;
}

/** So many left rows make a bucket whose hash table stays in the processor's inner caches. */
const BUCKET = 2048;

/** More streams of writes at once than these cost more than larger tables. */
const MOST_BUCKET_BITS = 11;

const CHECK_EVERY = 64;

/** When the right side has so many times as many rows, most have no partner, and it pays to leave those out first. */
const FEWER = 4;

/**
 * Groups rows by hash. Both sides are first dealt out to buckets by the upper bits of their hashes, so that nothing afterwards touches
 * memory at random: one hash table of a million keys is several times as slow as five hundred small ones.
 *
 * @param check called between steps; may throw to end the run.
 */
export function groupByHash(left: Hashes, right: Hashes, check: () => void): HashGroups {
  const most = left.hashes.length;
  const bits = Math.min(Math.max(Math.ceil(Math.log2(most / BUCKET)), 1), MOST_BUCKET_BITS);
  const lefts = dealt(left, bits);
  check();
  const rights = dealt(FEWER * most < right.hashes.length ? withoutStrangers(right, left) : right, bits);
  check();
  const table = new HashTable(largestOf(lefts.start));
  const sideOf = (rows: Int32Array) => ({
    group: new Int32Array(endOf(rows)).fill(NONE),
    count: new Int32Array(most),
    first: new Int32Array(most).fill(NONE),
  });
  const [l, r] = [sideOf(left.rows), sideOf(right.rows)];
  const later = new Int32Array(most);
  let laterCount = 0;
  let groups = 0;
  const buckets = 2 ** bits;
  for (let bucket = 0; bucket < buckets; bucket++) {
    if (bucket % CHECK_EVERY === 0) check();
    const [from, to] = [lefts.start[bucket] as number, lefts.start[bucket + 1] as number];
    if (from === to) continue;
    const before = groups;
    groups = table.fill(lefts.entries, from, to, groups, l);
    if (groups - before < to - from) laterCount = collectLater(lefts.entries, from, to, l, later, laterCount);
    table.lookUp(rights.entries, rights.start[bucket] as number, rights.start[bucket + 1] as number, r);
  }
  return { count: groups, left: l, right: r, later: later.subarray(0, laterCount) };
}

/** The right rows less most of those whose hash no left row has: one bit for each of the left hashes' lower bits. */
function withoutStrangers(right: Hashes, left: Hashes): Hashes {
  const mask = slotsFor(8 * left.hashes.length) - 1;
  const known = new Uint8Array((mask >>> 3) + 1);
  for (let i = 0; i < left.hashes.length; i++) {
    const bit = (left.hashes[i] as number) & mask;
    known[bit >>> 3] = (known[bit >>> 3] as number) | (1 << (bit & 7));
  }
  const out = right.out.slice();
  for (let i = 0; i < out.length; i++) {
    const bit = (right.hashes[i] as number) & mask;
    if (((known[bit >>> 3] as number) & (1 << (bit & 7))) === 0) out[i] = 1;
  }
  return { ...right, out };
}

interface Dealt {
  /** Pairs of hash and row, bucket by bucket; within a bucket in the order of the rows. */
  readonly entries: Int32Array;
  /** First entry of each bucket, and one more for the end of the last. */
  readonly start: Int32Array;
}

function dealt({ rows, hashes, out }: Hashes, bits: number): Dealt {
  const shift = 32 - bits;
  const start = new Int32Array(2 ** bits + 1);
  for (let i = 0; i < hashes.length; i++) {
    if (out[i] === 1) continue;
    const bucket = (hashes[i] as number) >>> shift;
    start[bucket + 1] = (start[bucket + 1] as number) + 1;
  }
  for (let bucket = 1; bucket < start.length; bucket++) {
    start[bucket] = (start[bucket] as number) + (start[bucket - 1] as number);
  }
  const next = start.slice();
  const entries = new Int32Array(2 * (start[start.length - 1] as number));
  for (let i = 0; i < hashes.length; i++) {
    if (out[i] === 1) continue;
    const hash = hashes[i] as number;
    const bucket = hash >>> shift;
    const at = next[bucket] as number;
    next[bucket] = at + 1;
    entries[2 * at] = hash;
    entries[2 * at + 1] = rows[i] as number;
  }
  return { entries, start };
}

/** One more than the largest row. */
function endOf(rows: Int32Array): number {
  let end = 0;
  for (let i = 0; i < rows.length; i++) if ((rows[i] as number) >= end) end = (rows[i] as number) + 1;
  return end;
}

function largestOf(start: Int32Array): number {
  let largest = 0;
  for (let bucket = 1; bucket < start.length; bucket++) {
    largest = Math.max(largest, (start[bucket] as number) - (start[bucket - 1] as number));
  }
  return largest;
}

function collectLater(
  entries: Int32Array,
  from: number,
  to: number,
  { group, first }: GroupedSide,
  later: Int32Array,
  count: number,
): number {
  let size = count;
  for (let e = from; e < to; e++) {
    const row = entries[2 * e + 1] as number;
    if (first[group[row] as number] !== row) later[size++] = row;
  }
  return size;
}

/** Hash → group, of one bucket at a time: open addressing in one array of (group + 1, hash), at most half full. */
class HashTable {
  readonly #slots: Int32Array;
  #mask = 0;

  constructor(most: number) {
    this.#slots = new Int32Array(2 * slotsFor(most));
  }

  /** Empties the table and fills it with a bucket's left entries, which get their groups. @returns the number of groups so far. */
  fill(entries: Int32Array, from: number, to: number, known: number, { group, count, first }: GroupedSide): number {
    const slots = this.#slots;
    const mask = slotsFor(to - from) - 1;
    this.#mask = mask;
    slots.fill(0, 0, 2 * (mask + 1));
    let groups = known;
    for (let e = from; e < to; e++) {
      const hash = entries[2 * e] as number;
      const row = entries[2 * e + 1] as number;
      let slot = hash & mask;
      while (slots[2 * slot] !== 0 && slots[2 * slot + 1] !== hash) slot = (slot + 1) & mask;
      let own = (slots[2 * slot] as number) - 1;
      if (own === NONE) {
        own = groups++;
        slots[2 * slot] = own + 1;
        slots[2 * slot + 1] = hash;
        first[own] = row;
      }
      group[row] = own;
      count[own] = (count[own] as number) + 1;
    }
    return groups;
  }

  /** Gives a bucket's right entries their groups. */
  lookUp(entries: Int32Array, from: number, to: number, { group, count, first }: GroupedSide): void {
    const slots = this.#slots;
    const mask = this.#mask;
    for (let e = from; e < to; e++) {
      const hash = entries[2 * e] as number;
      let slot = hash & mask;
      while (slots[2 * slot] !== 0 && slots[2 * slot + 1] !== hash) slot = (slot + 1) & mask;
      const own = (slots[2 * slot] as number) - 1;
      if (own === NONE) continue;
      const row = entries[2 * e + 1] as number;
      group[row] = own;
      if (count[own] === 0) first[own] = row;
      count[own] = (count[own] as number) + 1;
    }
  }
}

function slotsFor(most: number): number {
  return 2 ** Math.ceil(Math.log2(Math.max(2 * most, 2)));
}
