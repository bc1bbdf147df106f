import type { Amounts } from './amounts.ts';
import type { KeyColumn } from './key-column.ts';
import { NumberColumn, type Numbers } from './number-column.ts';
import type { Side } from './side.ts';
import { TextColumn } from './text-column.ts';

/** What must be equal on both sides. */
export interface Key {
  readonly left: KeyColumn;
  readonly right: KeyColumn;
}

/** Numbers that stand for the same on both sides. */
export function numberKey(left: Numbers, right: Numbers): Key {
  return { left: new NumberColumn(left), right: new NumberColumn(right) };
}

/** Amounts, to the last decimal. */
export function amountKeys(
  left: Pick<Amounts, 'wide' | 'high' | 'low'>,
  right: Pick<Amounts, 'wide' | 'high' | 'low'>,
): Key[] {
  const low = numberKey(left.low, right.low);
  return left.wide ? [low, numberKey(left.high, right.high)] : [low];
}

/** A field that must be equal, trimmed. A record that doesn't have it matches nothing: absence is no evidence. */
export function fieldKey(left: Side, right: Side, name: string): Key {
  return {
    left: new TextColumn(left.text(name), false, true),
    right: new TextColumn(right.text(name), false, true),
  };
}

/** The reference, trimmed; blank and missing are one, and match each other unless the reference must be set. */
export function referenceKey(
  left: Side,
  right: Side,
  config: { referenceField: string; caseInsensitive: boolean; referenceMustSet: boolean },
): Key {
  const of = (side: Side) =>
    new TextColumn(side.text(config.referenceField), config.caseInsensitive, config.referenceMustSet);
  return { left: of(left), right: of(right) };
}

/**
 * The keys with several of numbers made one where they fit into one exact number: each number is looked at in an order that
 * memory is slow with, so fewer columns are worth a copy.
 */
export function withNumbersJoined(keys: readonly Key[]): Key[] {
  const joined: Key[] = [];
  let own: { left: NumberColumn; right: NumberColumn } | undefined;
  for (const { left, right } of keys) {
    if (!(left instanceof NumberColumn && right instanceof NumberColumn)) {
      joined.push({ left, right });
      continue;
    }
    const both = own && NumberColumn.joined(own, { left, right });
    if (own && !both) joined.push(own);
    own = both ?? { left, right };
  }
  return own ? [...joined, own] : joined;
}

/** What the values of one key of few different numbers are, so that they need no hashing; undefined for any other key. */
export function fewNumbers(
  keys: readonly Key[],
): { left: Float64Array; right: Float64Array; least: number; size: number } | undefined {
  const [key] = keys;
  if (keys.length !== 1 || !(key?.left instanceof NumberColumn && key.right instanceof NumberColumn)) return undefined;
  const offsets = NumberColumn.offsets(key.left, key.right);
  return offsets.size > 0 && offsets.size <= FEW_NUMBERS ? offsets : undefined;
}

const FEW_NUMBERS = 4096;
