const ABSENT = -1;

/** A binary heap of the numbers 0 to size − 1, each at most once, whose order may change while they are inside. */
export class IndexedHeap {
  readonly #before: (a: number, b: number) => boolean;
  readonly #items: Int32Array;
  readonly #place: Int32Array;
  #length = 0;

  /** @param before whether `a` comes out before `b`. */
  constructor(size: number, before: (a: number, b: number) => boolean) {
    this.#before = before;
    this.#items = new Int32Array(size);
    this.#place = new Int32Array(size).fill(ABSENT);
  }

  /** The first item, which stays inside; -1 when the heap is empty. */
  get first(): number {
    return this.#length === 0 ? -1 : (this.#items[0] as number);
  }

  /** Puts an item in, or puts it right after its order has changed. */
  update(item: number): void {
    if (this.#place[item] === ABSENT) {
      this.#put(this.#length++, item);
    }
    this.#sink(this.#rise(this.#place[item] as number));
  }

  /** Takes an item out, if it is inside. */
  remove(item: number): void {
    const place = this.#place[item] as number;
    if (place === ABSENT) return;
    this.#place[item] = ABSENT;
    const last = this.#items[--this.#length] as number;
    if (last === item) return;
    this.#put(place, last);
    this.#sink(this.#rise(place));
  }

  #put(place: number, item: number): void {
    this.#items[place] = item;
    this.#place[item] = place;
  }

  #rise(start: number): number {
    let place = start;
    const item = this.#items[place] as number;
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = this.#items[parent] as number;
      if (!this.#before(item, above)) break;
      this.#put(place, above);
      place = parent;
    }
    this.#put(place, item);
    return place;
  }

  #sink(start: number): void {
    let place = start;
    const item = this.#items[place] as number;
    for (let child = 2 * place + 1; child < this.#length; child = 2 * place + 1) {
      const sibling = child + 1;
      if (sibling < this.#length && this.#before(this.#items[sibling] as number, this.#items[child] as number)) {
        child = sibling;
      }
      const below = this.#items[child] as number;
      if (!this.#before(below, item)) break;
      this.#put(place, below);
      place = child;
    }
    this.#put(place, item);
  }
}
