const MOST_DIGIT_BITS = 11;

/** Up to so many places comparing is quicker than counting digits. */
const FEW = 200;

/**
 * Sorts places by keys of several 32-bit words: the order of 0 to size − 1 in which the keys ascend, equal ones as they stand.
 * Time linear in size × digits that differ; a word that is the same everywhere costs one look at each.
 *
 * @param words each of the same length, the least significant first.
 */
export function radixSort(words: readonly Uint32Array[], size: number): Int32Array {
  if (size <= FEW) return compared(words, size);
  let places = new Int32Array(0);
  let started = false;
  let otherPlaces: Int32Array | undefined;
  let own: Uint32Array | undefined;
  let otherOwn: Uint32Array | undefined;
  for (const word of words) {
    const { least, bits } = spreadOf(word, size);
    if (bits === 0) continue;
    if (!started) {
      places = inPlace(size);
      started = true;
    }
    own ??= new Uint32Array(size);
    otherOwn ??= new Uint32Array(size);
    otherPlaces ??= new Int32Array(size);
    for (let i = 0; i < size; i++) own[i] = (word[places[i] as number] as number) - least;
    const digits = Math.ceil(bits / MOST_DIGIT_BITS);
    const width = Math.ceil(bits / digits);
    for (let digit = 0; digit < digits; digit++) {
      scatter(own, places, otherOwn, otherPlaces, digit * width, width);
      [own, otherOwn] = [otherOwn, own];
      [places, otherPlaces] = [otherPlaces as Int32Array<ArrayBuffer>, places];
    }
  }
  return started ? places : inPlace(size);
}

function inPlace(size: number): Int32Array<ArrayBuffer> {
  const places = new Int32Array(size);
  for (let i = 0; i < size; i++) places[i] = i;
  return places;
}

function compared(words: readonly Uint32Array[], size: number): Int32Array {
  const places = inPlace(size);
  return places.sort((a, b) => {
    for (let k = words.length - 1; k >= 0; k--) {
      const word = words[k] as Uint32Array;
      if (word[a] !== word[b]) return (word[a] as number) - (word[b] as number);
    }
    return a - b;
  });
}

function scatter(
  from: Uint32Array,
  fromPlaces: Int32Array,
  to: Uint32Array,
  toPlaces: Int32Array,
  shift: number,
  width: number,
): void {
  const size = from.length;
  const mask = (1 << width) - 1;
  const next = new Int32Array(1 << width);
  for (let i = 0; i < size; i++) {
    const digit = ((from[i] as number) >>> shift) & mask;
    next[digit] = (next[digit] as number) + 1;
  }
  let sum = 0;
  for (let digit = 0; digit <= mask; digit++) {
    const count = next[digit] as number;
    next[digit] = sum;
    sum += count;
  }
  for (let i = 0; i < size; i++) {
    const value = from[i] as number;
    const digit = (value >>> shift) & mask;
    const at = next[digit] as number;
    next[digit] = at + 1;
    to[at] = value;
    toPlaces[at] = fromPlaces[i] as number;
  }
}

function spreadOf(word: Uint32Array, size: number): { least: number; bits: number } {
  let least = 0xffffffff;
  let most = 0;
  for (let i = 0; i < size; i++) {
    const value = word[i] as number;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return { least, bits: most <= least ? 0 : 32 - Math.clz32(most - least) };
}

/**
 * Whole numbers as words for `radixSort`, least significant first: their distance from the smallest, which must be below
 * 2^53. One word when that is enough.
 */
export function wordsOf(values: Float64Array): Uint32Array[] {
  const size = values.length;
  let least = Number.POSITIVE_INFINITY;
  let most = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < size; i++) {
    const value = values[i] as number;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  const low = new Uint32Array(size);
  if (most - least < 2 ** 32) {
    for (let i = 0; i < size; i++) low[i] = (values[i] as number) - least;
    return [low];
  }
  const high = new Uint32Array(size);
  for (let i = 0; i < size; i++) {
    const distance = (values[i] as number) - least;
    const over = Math.floor(distance / 2 ** 32);
    high[i] = over;
    low[i] = distance - over * 2 ** 32;
  }
  return [low, high];
}
