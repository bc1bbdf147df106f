/**
 * A row of slots that are closed one by one, and the nearest open slot on either side of any place. Two union-find
 * arrays with path halving: near-constant time however many slots in a row are closed.
 */
export class OpenSlots {
  readonly #size: number;
  /** Slot + 1 → the same or a lower slot + 1 that may be open; 0 is the end. */
  readonly #down: Int32Array;
  /** Slot → the same or a higher slot that may be open; `size` is the end. */
  readonly #up: Int32Array;

  constructor(size: number) {
    this.#size = size;
    this.#down = new Int32Array(size + 1);
    for (let i = 0; i <= size; i++) this.#down[i] = i;
    this.#up = this.#down.slice();
  }

  close(slot: number): void {
    this.#down[slot + 1] = slot;
    this.#up[slot] = slot + 1;
  }

  /** The nearest open slot at or below a place; -1 when there is none. */
  atOrBelow(place: number): number {
    return root(this.#down, place + 1) - 1;
  }

  /** The nearest open slot at or above a place; the number of slots when there is none. */
  atOrAbove(place: number): number {
    return place >= this.#size ? this.#size : root(this.#up, place);
  }
}

function root(parents: Int32Array, start: number): number {
  let at = start;
  let parent = parents[at] as number;
  while (parent !== at) {
    const grandparent = parents[parent] as number;
    parents[at] = grandparent;
    at = grandparent;
    parent = parents[at] as number;
  }
  return at;
}
