/** Found by its hash, and not equal. */
export const UNLIKE = -2;

/** One side of a key. Both sides of one key are of the same class. */
export interface KeyColumn {
  /**
   * Mixes the rows' values into their hashes; equal values mix alike.
   *
   * @param out set to 1 for a row that can have no partner.
   */
  mix(rows: Int32Array, hashes: Int32Array, out: Uint8Array): void;
  equals(row: number, other: KeyColumn, otherRow: number): boolean;
  /** Sets `candidates[i]` to `UNLIKE` where `rows[i]` does not equal that row of the other side. Below 0 there is none. */
  verify(rows: Int32Array, candidates: Int32Array, other: KeyColumn): void;
}

/** Mixes four bytes into a hash; its upper and its lower bits are good by themselves. */
export function mixed(hash: number, value: number): number {
  const h = Math.imul(hash ^ value, 0x9e3779b1);
  return h ^ (h >>> 15);
}
