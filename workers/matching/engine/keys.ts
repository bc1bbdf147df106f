import type { Side } from './side.ts';

/**
 * What must be equal on both sides: a number per row (the same for the same value on both sides), or `NO_KEY` for a row
 * that matches nothing. Computed for the given rows only; the arrays run along them.
 */
export type Key = (leftRows: Int32Array, rightRows: Int32Array) => { left: Int32Array; right: Int32Array };

/** Of a row that can have no partner. */
export const NO_KEY = -1;

/** Numbers that stand for the same on both sides already. They must not be negative. */
export function numberKey(left: Int32Array, right: Int32Array): Key {
  return (leftRows, rightRows) => ({
    left: leftRows.map((row) => left[row] as number),
    right: rightRows.map((row) => right[row] as number),
  });
}

/** Any values, numbered as they come on the left; a right one that the left doesn't have gets `NO_KEY`, like null. */
export function valueKey<Value extends string | number>(
  left: (row: number) => Value | null,
  right: (row: number) => Value | null,
): Key {
  return (leftRows, rightRows) => {
    const numbers = new Map<Value, number>();
    return {
      left: leftRows.map((row) => {
        const value = left(row);
        if (value === null) return NO_KEY;
        let number = numbers.get(value);
        if (number === undefined) {
          number = numbers.size;
          numbers.set(value, number);
        }
        return number;
      }),
      right: rightRows.map((row) => {
        const value = right(row);
        return value === null ? NO_KEY : (numbers.get(value) ?? NO_KEY);
      }),
    };
  };
}

/** A field that must be equal, trimmed. A record that doesn't have it matches nothing: absence is no evidence. */
export function fieldKey(left: Side, right: Side, name: string): Key {
  const of = (side: Side) => {
    const column = side.columns.field(name);
    return (row: number) => {
      const text = column[row]?.trim() ?? '';
      return text === '' ? null : text;
    };
  };
  return valueKey(of(left), of(right));
}

/** The reference, trimmed; blank and missing are one, and match each other unless the reference must be set. */
export function referenceKey(
  left: Side,
  right: Side,
  config: { referenceField: string; caseInsensitive: boolean; referenceMustSet: boolean },
): Key {
  const of = (side: Side) => {
    const column = side.columns.field(config.referenceField);
    return (row: number) => {
      const text = column[row]?.trim() ?? '';
      if (text === '') return config.referenceMustSet ? null : '';
      return config.caseInsensitive ? foldAscii(text) : text;
    };
  };
  return valueKey(of(left), of(right));
}

/** A–Z to a–z and nothing else: what other letters fold to depends on the language. */
function foldAscii(text: string): string {
  if (ASCII_ONLY.test(text)) return text.toLowerCase();
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: all of ASCII is meant, the controls too
const ASCII_ONLY = /^[\x00-\x7f]*$/;
