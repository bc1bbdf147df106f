import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { AMOUNT_ONE, magnitude, parseAmount } from '@matcher/shared/money/decimal.ts';
import { amountAt } from './amounts.ts';
import { WHOLE } from './confidence.ts';
import type { Forbidden } from './forbidden.ts';
import type { GroupList } from './group-list.ts';
import type { Key } from './keys.ts';
import type { Side } from './side.ts';
import { type DayWindow, type Terms, termsOf } from './terms.ts';

/** A rule as allocation sees it: wholes on one side, parts on the other. */
export interface AllocationTerms {
  readonly rule: number;
  readonly wholeSide: 'left' | 'right';
  readonly partSide: 'left' | 'right';
  readonly sides: { readonly left: Side; readonly right: Side };
  /** Rows that are open and that the rule looks at, in their side's order. */
  readonly open: { readonly left: Int32Array; readonly right: Int32Array };
  /** What a whole and its parts must have equal; without the amount, and with `groupBy` without reference and date. */
  readonly keys: readonly Key[];
  /** Days that a right record may lie from the left one. */
  readonly days: DayWindow;
  readonly dateWindow: number | null;
  readonly referencePart: number;
  readonly allowPartial: boolean;
  /** The rule's terms between two records, for what is held against each pair. */
  readonly pair: Terms;
  readonly amountOf: (side: 'left' | 'right', row: number) => bigint;
  /** How far the parts of a whole of this amount may be from it. */
  readonly toleranceOf: (whole: bigint) => bigint;
  /** Parts that must not be in one group with any of these wholes. */
  readonly forbiddenWith: (wholes: readonly number[]) => ReadonlySet<number>;
}

export function allocationTermsOf(
  index: number,
  rule: Rule,
  sides: { left: Side; right: Side },
  groups: GroupList,
  forbidden: Forbidden,
): AllocationTerms {
  const { config } = rule;
  const bound = config.groupBy !== undefined;
  const sums = {
    ...config,
    matchAmount: false,
    matchBaseAmount: false,
    ...(bound ? { matchReference: false, matchDate: false } : {}),
  };
  const pair = termsOf({ ...rule, config: sums } as Rule, sides.left, sides.right);
  const useBase = config.allocationUseBaseAmount || ('matchBaseAmount' in config && config.matchBaseAmount);
  const value = parseAmount(config.allocationToleranceValue);
  const isPercent = config.allocationToleranceMode === 'PERCENT';
  const toRight = config.allocationDirection === 'LEFT_TO_RIGHT';
  const open = (name: 'left' | 'right') => {
    const side = sides[name];
    const rows: number[] = [];
    for (let row = 0; row < side.size; row++) {
      if (groups.taken[name][row] === 1 || pair.looksAt[name]?.[row] === 0) continue;
      if (useBase && side.base.amountMissing[row] === 1) {
        groups.note(name, row, { reason: 'MISSING_BASE_AMOUNT', rule: index, gap: null });
      } else rows.push(row);
    }
    return side.order.rank(Int32Array.from(rows));
  };
  return {
    rule: index,
    wholeSide: toRight ? 'left' : 'right',
    partSide: toRight ? 'right' : 'left',
    sides,
    open: { left: open('left'), right: open('right') },
    keys: pair.keys,
    days: pair.days,
    dateWindow: pair.dateWindow,
    referencePart: bound ? WHOLE : pair.referencePart,
    allowPartial: config.allowPartial,
    pair,
    amountOf: (name, row) => amountAt(useBase ? sides[name].base.amounts : sides[name].amounts, row),
    toleranceOf: (whole) => (isPercent ? (value * magnitude(whole)) / AMOUNT_ONE : value),
    forbiddenWith: (wholes) => forbidden.ofAny(toRight ? 'left' : 'right', wholes),
  };
}
