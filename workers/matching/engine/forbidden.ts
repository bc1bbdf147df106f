import type { MatchInput } from './types.ts';

/** Pairs of rows that must not come together. They are few; a rule looks at them only where a row has one. */
export class Forbidden {
  readonly #byLeft = new Map<number, Set<number>>();
  readonly #byRight = new Map<number, Set<number>>();

  constructor(pairs: MatchInput['forbidden']) {
    for (let i = 0; i < (pairs?.left.length ?? 0); i++) {
      const [left, right] = [pairs?.left[i] as number, pairs?.right[i] as number];
      put(this.#byLeft, left, right);
      put(this.#byRight, right, left);
    }
  }

  get isEmpty(): boolean {
    return this.#byLeft.size === 0;
  }

  has(leftRow: number, rightRow: number): boolean {
    return this.#byLeft.get(leftRow)?.has(rightRow) === true;
  }

  /** The right rows that a left row must not come together with; undefined when there are none. */
  of(leftRow: number): ReadonlySet<number> | undefined {
    return this.#byLeft.get(leftRow);
  }

  /** The rows of the other side that any of these must not come together with. */
  ofAny(side: 'left' | 'right', rows: readonly number[]): ReadonlySet<number> {
    const others = new Set<number>();
    if (this.isEmpty) return others;
    const known = side === 'left' ? this.#byLeft : this.#byRight;
    for (const row of rows) for (const other of known.get(row) ?? []) others.add(other);
    return others;
  }

  /** Pairs in two columns, less the forbidden ones. */
  without(lefts: Int32Array, rights: Int32Array): { lefts: Int32Array; rights: Int32Array } {
    if (this.isEmpty) return { lefts, rights };
    const isAllowed = (i: number) => !this.has(lefts[i] as number, rights[i] as number);
    return { lefts: lefts.filter((_, i) => isAllowed(i)), rights: rights.filter((_, i) => isAllowed(i)) };
  }
}

function put(known: Map<number, Set<number>>, row: number, other: number): void {
  const others = known.get(row);
  if (others) others.add(other);
  else known.set(row, new Set([other]));
}
