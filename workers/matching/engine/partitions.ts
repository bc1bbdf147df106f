import { groupByHash, type Hashes, type HashGroups, NONE } from './hash-groups.ts';
import { type KeyColumn, UNLIKE } from './key-column.ts';
import { fewNumbers, type Key, withNumbersJoined } from './keys.ts';

/** Which rows of both sides share all keys. */
export interface Partitions {
  readonly count: number;
  readonly left: PartitionedSide;
  readonly right: PartitionedSide;
}

export interface PartitionedSide {
  readonly rows: Int32Array;
  /** By row: its partition; `NONE` when it has no key or was not given, and for a right row maybe also when no left row has its key. */
  readonly partition: Int32Array;
  /** Per partition: how many rows it has. */
  readonly count: Int32Array;
  /** Per partition: the first of its rows, `NONE` when it has none. */
  readonly first: Int32Array;
}

/**
 * Sorts rows into partitions of equal keys, in time linear in rows × keys. Equality is verified on the columns; the hash only finds. What
 * touches memory at random is done in short loops over all rows, one column at a time, so that many reads are under way at once.
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
  check();
  const leftHashes = hashed(
    leftRows,
    keys.map((key) => key.left),
    check,
  );
  const rightHashes = hashed(
    rightRows,
    keys.map((key) => key.right),
    check,
  );
  check();
  const groups = groupByHash(leftHashes, rightHashes, check);
  check();
  const unlike = unlikeOnes(rightRows, groups, keys, check);
  const sideOf = (rows: Int32Array, { group, ...rest }: HashGroups['left']) => ({ rows, partition: group, ...rest });
  const partitions = {
    count: groups.count,
    left: sideOf(leftRows, groups.left),
    right: sideOf(rightRows, groups.right),
  };
  return unlike.left.length === 0 && unlike.right.length === 0 ? partitions : toldApart(partitions, unlike, keys);
}

/** Each number is a partition. */
function byNumber(
  leftRows: Int32Array,
  rightRows: Int32Array,
  { left, right, least, size }: NonNullable<ReturnType<typeof fewNumbers>>,
): Partitions {
  const sideOf = (rows: Int32Array, values: Float64Array) => {
    const partition = new Int32Array(values.length).fill(NONE);
    const count = new Int32Array(size);
    const first = new Int32Array(size).fill(NONE);
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i] as number;
      const own = (values[row] as number) - least;
      partition[row] = own;
      if (count[own] === 0) first[own] = row;
      count[own] = (count[own] as number) + 1;
    }
    return { rows, partition, count, first };
  };
  return { count: size, left: sideOf(leftRows, left), right: sideOf(rightRows, right) };
}

function hashed(rows: Int32Array, columns: readonly KeyColumn[], check: () => void): Hashes {
  const hashes = new Int32Array(rows.length);
  const out = new Uint8Array(rows.length);
  for (const column of columns) {
    check();
    column.mix(rows, hashes, out);
  }
  return { rows, hashes, out };
}

interface Unlike {
  /** Rows. */
  readonly left: readonly number[];
  readonly right: readonly number[];
}

/** The rows whose keys are not those of the first left row of their group. */
function unlikeOnes(
  rightRows: Int32Array,
  { left, right, later }: HashGroups,
  keys: readonly Key[],
  check: () => void,
): Unlike {
  const firsts = (rows: Int32Array, group: Int32Array) => {
    const candidates = new Int32Array(rows.length);
    for (let i = 0; i < rows.length; i++) {
      const own = group[rows[i] as number] as number;
      candidates[i] = own === NONE ? NONE : (left.first[own] as number);
    }
    return candidates;
  };
  const [lefts, rights] = [firsts(later, left.group), firsts(rightRows, right.group)];
  for (const key of keys) {
    check();
    key.left.verify(later, lefts, key.left);
    check();
    key.right.verify(rightRows, rights, key.left);
  }
  check();
  return { left: unlikeOf(later, lefts), right: unlikeOf(rightRows, rights) };
}

function unlikeOf(rows: Int32Array, candidates: Int32Array): number[] {
  const unlike: number[] = [];
  for (let i = 0; i < rows.length; i++) if (candidates[i] === UNLIKE) unlike.push(rows[i] as number);
  return unlike;
}

/** Gives the rows that only share the hash of their group partitions of their own. Of a million keys some hundred do. */
function toldApart({ count: groups, left, right }: Partitions, unlike: Unlike, keys: readonly Key[]): Partitions {
  const [leftKeys, rightKeys] = [keys.map((key) => key.left), keys.map((key) => key.right)];
  /** By group: partitions beside the group's own, each with its first left row. */
  const beside = new Map<number, { partition: number; row: number }[]>();
  let count = groups;
  for (const row of unlike.left) {
    const group = left.partition[row] as number;
    const others = beside.get(group) ?? [];
    beside.set(group, others);
    let own = others.find((other) => allEqual(leftKeys, row, leftKeys, other.row));
    if (own === undefined) {
      own = { partition: count++, row };
      others.push(own);
      left.first[own.partition] = row;
    }
    left.partition[row] = own.partition;
    left.count[group] = (left.count[group] as number) - 1;
    left.count[own.partition] = (left.count[own.partition] as number) + 1;
  }
  const withoutFirst = new Set<number>();
  for (const row of unlike.right) {
    const group = right.partition[row] as number;
    const own = beside.get(group)?.find((other) => allEqual(rightKeys, row, leftKeys, other.row))?.partition ?? NONE;
    right.partition[row] = own;
    right.count[group] = (right.count[group] as number) - 1;
    if (right.first[group] === row) withoutFirst.add(group);
    if (own === NONE) continue;
    if (right.count[own] === 0) right.first[own] = row;
    right.count[own] = (right.count[own] as number) + 1;
  }
  findFirsts(right, withoutFirst);
  return { count, left, right };
}

/** Finds the first rows of partitions whose first one was another's. */
function findFirsts({ rows, partition, first }: PartitionedSide, partitions: ReadonlySet<number>): void {
  for (const p of partitions) first[p] = NONE;
  const missing = new Uint8Array(first.length);
  for (const p of partitions) missing[p] = 1;
  for (let i = 0; i < rows.length && partitions.size > 0; i++) {
    const row = rows[i] as number;
    const own = partition[row] as number;
    if (own === NONE || missing[own] === 0) continue;
    missing[own] = 0;
    first[own] = row;
  }
}

function allEqual(a: readonly KeyColumn[], rowA: number, b: readonly KeyColumn[], rowB: number): boolean {
  return a.every((column, k) => column.equals(rowA, b[k] as KeyColumn, rowB));
}
