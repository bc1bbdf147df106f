import { NONE } from './hash-groups.ts';
import type { PartitionedRows } from './nearest.ts';
import type { PartitionedSide, Partitions } from './partitions.ts';

/** What becomes of partitions that have rows of both sides. */
export interface LonePartners {
  /** Rows of partitions that are one pair, each with its partner; in the order of the left rows. */
  readonly lefts: Int32Array;
  readonly rights: Int32Array;
  /** Per partition: 1 where it is more than one pair; undefined when none is. */
  readonly many: Uint8Array | undefined;
}

/** Tells partitions of one row on each side from those that hold several. */
export function lonePartners({ count, left, right }: Partitions): LonePartners {
  const partner = new Int32Array(left.partition.length).fill(NONE);
  const many = new Uint8Array(count);
  let pairs = 0;
  let hasMany = false;
  for (let p = 0; p < count; p++) {
    if (left.count[p] === 0 || right.count[p] === 0) continue;
    if (left.count[p] === 1 && right.count[p] === 1) {
      partner[left.first[p] as number] = right.first[p] as number;
      pairs++;
    } else {
      many[p] = 1;
      hasMany = true;
    }
  }
  const [lefts, rights] = [new Int32Array(pairs), new Int32Array(pairs)];
  let at = 0;
  for (let i = 0; at < pairs; i++) {
    const row = left.rows[i] as number;
    if (partner[row] === NONE) continue;
    lefts[at] = row;
    rights[at++] = partner[row] as number;
  }
  return { lefts, rights, many: hasMany ? many : undefined };
}

/** A side's rows in the partitions that are more than one pair. */
export function manyToMany({ rows, partition }: PartitionedSide, many: Uint8Array): PartitionedRows {
  const chosen = new Int32Array(rows.length);
  const partitions = new Int32Array(rows.length);
  let size = 0;
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i] as number;
    const own = partition[row] as number;
    if (own === NONE || many[own] === 0) continue;
    chosen[size] = row;
    partitions[size++] = own;
  }
  return { rows: chosen.subarray(0, size), partition: partitions.subarray(0, size) };
}
