/**
 * Seeded draws that depend on what is drawn and for which record, never on what was drawn before.
 *
 * A sequence of random numbers would have to be replayed from its start to make record 700,000. Here every value is a
 * hash of (seed, purpose, index), so any record can be made alone, both sides of a pair agree without being held
 * together, and a million records stream in constant memory.
 */
export interface Draw {
  /** A whole number from `min` to `max`, both included. */
  integer(purpose: string, index: number, min: number, max: number): number;
  /** True for about `share` (0–1) of all indexes. */
  chance(purpose: string, index: number, share: number): boolean;
  pick<T>(purpose: string, index: number, choices: readonly [T, ...T[]]): T;
  /** A permutation of 0 … length - 1, as a function. */
  shuffle(purpose: string, length: number): (position: number) => number;
}

export function createDraw(seed: number): Draw {
  const start = mix(seed >>> 0);
  const streams = new Map<string, number>();

  function word(purpose: string, index: number): number {
    let stream = streams.get(purpose);
    if (stream === undefined) {
      stream = start;
      for (const character of purpose) stream = mix(stream ^ (character.codePointAt(0) ?? 0));
      streams.set(purpose, stream);
    }
    return mix(stream + Math.imul(index, 0x9e3779b9));
  }

  const fraction = (purpose: string, index: number) => word(purpose, index) / 2 ** 32;

  return {
    integer: (purpose, index, min, max) => min + Math.floor(fraction(purpose, index) * (max - min + 1)),
    chance: (purpose, index, share) => fraction(purpose, index) < share,
    pick: (purpose, index, choices) => choices[Math.floor(fraction(purpose, index) * choices.length)] ?? choices[0],
    shuffle(purpose, length) {
      // Affine, with a step near the golden section of the length: neighbours in the file are far apart as records,
      // and the permutation needs no table.
      let step = Math.max(1, Math.floor(length * 0.618) + (word(purpose, 0) % 97)) % Math.max(1, length) || 1;
      while (greatestCommonDivisor(step, length) !== 1) step = (step % length) + 1;
      const offset = length > 0 ? word(purpose, 1) % length : 0;
      return (position) => (position * step + offset) % length;
    },
  };
}

/** The finaliser of MurmurHash3: every bit of the input moves about half of the 32 bits of the output. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
