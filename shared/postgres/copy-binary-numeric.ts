import { int32At } from './copy-binary-read.ts';

/**
 * A numeric(28, 8) as whole hundred-millionths (10^-8) in doubles. On the wire it is a row of base-10000 digits: their number, the weight of
 * the first, the sign and the decimals to show, 16 bits each, then the digits. Every fourth decimal is a digit's border, so nothing has to be shifted.
 */

/** What `high` counts. */
const HIGH = 1e14;
const HIGH_EXACT = 10n ** 14n;

/** Up to here the amount is one exact double, and so is the sum of two. */
const MOST_IN_ONE = 2 ** 52;

const NEGATIVE = 0x4000;
const powers = Float64Array.from({ length: 8 }, (_, exponent) => 10_000 ** exponent);

/** @returns the amount in 10^-8; NaN when that is beyond `MOST_IN_ONE`: `WideNumeric` reads it. */
export function numericAt(bytes: Uint8Array, at: number): number {
  const head = int32At(bytes, at);
  const count = head >>> 16;
  const weight = (head << 16) >> 16;
  const sign = ((bytes[at + 4] as number) << 8) | (bytes[at + 5] as number);
  if (sign !== 0 && sign !== NEGATIVE) throw new Error('A numeric that is no number');
  if (weight > 1 || count > 4) return Number.NaN;
  let digits = 0;
  for (let i = 0, from = at + 8; i < count; i++, from += 2) {
    digits = digits * 10_000 + (((bytes[from] as number) << 8) | (bytes[from + 1] as number));
  }
  const amount = digits * (powers[count === 0 ? 0 : weight - count + 3] as number);
  if (amount > MOST_IN_ONE) return Number.NaN;
  return sign === 0 || amount === 0 ? amount : -amount;
}

/** An amount in two words, high × 10^14 + low with 0 ≤ low < 10^14. Fields, since two numbers can't be returned without an object. */
export class WideNumeric {
  high = 0;
  low = 0;

  read(bytes: Uint8Array, at: number): void {
    const head = int32At(bytes, at);
    const count = head >>> 16;
    const weight = (head << 16) >> 16;
    /** The digit that counts 10^(4 × place) units. */
    const digit = (place: number) => {
      const i = weight + 2 - place;
      if (i < 0 || i >= count) return 0;
      const from = at + 8 + 2 * i;
      return ((bytes[from] as number) << 8) | (bytes[from + 1] as number);
    };
    const middle = digit(3);
    this.low = digit(0) + digit(1) * 1e4 + digit(2) * 1e8 + (middle % 100) * 1e12;
    this.high = Math.floor(middle / 100) + digit(4) * 1e2 + digit(5) * 1e6 + digit(6) * 1e10;
    if ((((bytes[at + 4] as number) << 8) | (bytes[at + 5] as number)) === NEGATIVE) this.#negate();
  }

  /** Takes an amount of one word apart. */
  split(amount: number): void {
    this.high = Math.floor(amount / HIGH);
    this.low = amount - this.high * HIGH;
  }

  /** Takes an amount of any size apart. */
  exact(amount: bigint): void {
    const rest = amount % HIGH_EXACT;
    const low = rest < 0n ? rest + HIGH_EXACT : rest;
    this.low = Number(low);
    this.high = Number((amount - low) / HIGH_EXACT);
  }

  #negate(): void {
    this.high = this.low > 0 ? -this.high - 1 : 0 - this.high;
    if (this.low > 0) this.low = HIGH - this.low;
  }
}

/** Most bytes that `putNumeric` writes. */
export const NUMERIC_BYTES = 8 + 2 * 8;

const digits = new Int32Array(8);

/**
 * Writes high × 10^14 + low, in 10^-8, as a numeric: `high` 0 and `low` the amount with its sign, up to `MOST_IN_ONE`; or 0 ≤ `low` < 10^14.
 *
 * @returns how many bytes that took.
 */
export function putNumeric(view: DataView, at: number, high: number, low: number): number {
  const negative = high === 0 ? low < 0 : high < 0;
  let places: number;
  if (high === 0) places = narrowDigits(negative ? -low : low);
  else if (!negative) places = wideDigits(high, low);
  else places = low > 0 ? wideDigits(-high - 1, HIGH - low) : wideDigits(-high, 0);
  let most = places - 1;
  while (most >= 0 && digits[most] === 0) most--;
  let least = 0;
  while (least < most && digits[least] === 0) least++;
  const count = most < 0 ? 0 : most - least + 1;
  view.setInt16(at, count);
  view.setInt16(at + 2, count === 0 ? 0 : most - 2);
  view.setInt16(at + 4, negative && count > 0 ? NEGATIVE : 0);
  view.setInt16(at + 6, 8);
  for (let i = 0; i < count; i++) view.setInt16(at + 8 + 2 * i, digits[most - i] as number);
  return 8 + 2 * count;
}

/** Takes up to `MOST_IN_ONE` into digits, the least first. @returns how many places were set. */
function narrowDigits(amount: number): number {
  const whole = Math.floor(amount / 1e8);
  const fraction = (amount - whole * 1e8) | 0;
  const [upper, wholeUpper] = [(fraction / 10_000) | 0, (whole / 10_000) | 0];
  digits[0] = fraction - upper * 10_000;
  digits[1] = upper;
  digits[2] = whole - wholeUpper * 10_000;
  digits[3] = wholeUpper;
  return 4;
}

function wideDigits(high: number, low: number): number {
  const top = Math.floor(low / 1e12);
  narrowDigits(low - top * 1e12);
  let rest = Math.floor(high / 100);
  digits[3] = (high - rest * 100) * 100 + top;
  for (let place = 4; place < 8; place++) {
    const upper = Math.floor(rest / 10_000);
    digits[place] = rest - upper * 10_000;
    rest = upper;
  }
  return 8;
}
