import {
  AmountError,
  formatAmount,
  isAtMostFraction,
  parseAmount,
  ROUNDING_MODES,
  roundAmount,
} from '@matcher/shared/money/decimal.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

const anyAmount = fc.oneof(
  fc.bigInt({ min: -(10n ** 20n - 1n), max: 10n ** 20n - 1n }),
  fc.bigInt({ min: -99_999n, max: 99_999n }).map((whole) => whole * 10n ** 8n),
);

describe('reading an amount', () => {
  test.each([
    ['0', 0n],
    ['-0', 0n],
    ['+7', 700_000_000n],
    ['1.50', 150_000_000n],
    ['-1234.5', -123_450_000_000n],
    ['000.10', 10_000_000n],
    ['0.00000001', 1n],
    ['99999999999999999999', 99_999_999_999_999_999_999n * 10n ** 8n],
    ['99999999999999999999.00', 99_999_999_999_999_999_999n * 10n ** 8n],
    ['123456789012.12345678', 12_345_678_901_212_345_678n],
  ])('%s is %i hundred-millionths', (text, amount) => {
    expect(parseAmount(text)).toBe(amount);
  });

  test.each([
    ['', 'AMOUNT_SYNTAX', '"" is not an amount'],
    ['abc', 'AMOUNT_SYNTAX', '"abc" is not an amount'],
    [' 1', 'AMOUNT_SYNTAX', '" 1" is not an amount'],
    ['1\n', 'AMOUNT_SYNTAX', '"1\\n" is not an amount'],
    ['.5', 'AMOUNT_SYNTAX', '".5" is not an amount'],
    ['5.', 'AMOUNT_SYNTAX', '"5." is not an amount'],
    ['1,000', 'AMOUNT_SYNTAX', '"1,000" is not an amount'],
    ['1e3', 'AMOUNT_SYNTAX', '"1e3" is not an amount'],
    ['--1', 'AMOUNT_SYNTAX', '"--1" is not an amount'],
    ['NaN', 'AMOUNT_SYNTAX', '"NaN" is not an amount'],
    ['１', 'AMOUNT_SYNTAX', '"１" is not an amount'],
    ['x'.repeat(50), 'AMOUNT_SYNTAX', `"${'x'.repeat(40)}…" is not an amount`],
    ['1.000000000', 'AMOUNT_DECIMALS', '"1.000000000" has 9 decimals; an amount has at most 8'],
    ['100000000000000000000', 'AMOUNT_DIGITS', '"100000000000000000000" has 21 digits; an amount has at most 20'],
    ['1234567890123.12345678', 'AMOUNT_DIGITS', '"1234567890123.12345678" has 21 digits; an amount has at most 20'],
  ])('%j is refused as %s', (text, code, message) => {
    expect(() => parseAmount(text)).toThrow(AmountError);
    expect(() => parseAmount(text)).toThrow(expect.objectContaining({ code, message, remedy: 'permanent' }));
  });
});

describe('writing an amount', () => {
  test.each([
    [0n, undefined, '0'],
    [0n, 2, '0.00'],
    [150_000_000n, undefined, '1.5'],
    [150_000_000n, 2, '1.50'],
    [-123_450_000_000n, 2, '-1234.50'],
    [-1n, 2, '-0.00000001'],
    [700_000_000n, 8, '7.00000000'],
    [123_400_000n, 1, '1.234'],
  ])('%i with %s decimals at least is %s', (amount, minDecimals, text) => {
    expect(formatAmount(amount, minDecimals === undefined ? {} : { minDecimals })).toBe(text);
  });

  test('is read back to the same amount, however many decimals are shown', () => {
    fc.assert(
      fc.property(anyAmount, fc.nat({ max: 8 }), (amount, minDecimals) => {
        expect(parseAmount(formatAmount(amount, { minDecimals }))).toBe(amount);
      }),
    );
  });
});

describe('rounding an amount', () => {
  //                   HALF_UP   BANKERS    FLOOR     CEIL     TRUNCATE
  test.each([
    ['2.5', 0, ['3', '2', '2', '3', '2']],
    ['3.5', 0, ['4', '4', '3', '4', '3']],
    ['-2.5', 0, ['-3', '-2', '-3', '-2', '-2']],
    ['-3.5', 0, ['-4', '-4', '-4', '-3', '-3']],
    ['2.4999', 0, ['2', '2', '2', '3', '2']],
    ['-2.5001', 0, ['-3', '-3', '-3', '-2', '-2']],
    ['0.5', 0, ['1', '0', '0', '1', '0']],
    ['-0.5', 0, ['-1', '0', '-1', '0', '0']],
    ['1.005', 2, ['1.01', '1', '1', '1.01', '1']],
    ['1.015', 2, ['1.02', '1.02', '1.01', '1.02', '1.01']],
    ['7', 2, ['7', '7', '7', '7', '7']],
    ['1.00000001', 7, ['1', '1', '1', '1.0000001', '1']],
    ['1.00000001', 8, Array(5).fill('1.00000001')],
    ['1.00000001', 10, Array(5).fill('1.00000001')],
    ['99999999999999999999', 0, Array(5).fill('99999999999999999999')],
  ])('%s to %i decimals', (text, scale, expected) => {
    const rounded = ROUNDING_MODES.map((mode) => formatAmount(roundAmount(parseAmount(text), scale, mode)));
    expect(rounded).toEqual(expected);
  });

  test('keeps the order of amounts, in every mode', () => {
    fc.assert(
      fc.property(
        anyAmount,
        anyAmount,
        fc.nat({ max: 10 }),
        fc.constantFrom(...ROUNDING_MODES),
        (a, b, scale, mode) => {
          const [low, high] = a < b ? [a, b] : [b, a];
          expect(roundAmount(low, scale, mode) <= roundAmount(high, scale, mode)).toBe(true);
        },
      ),
    );
  });
});

test('a fraction of an amount is compared to the last digit', () => {
  const [base, half] = [parseAmount('99999999999.99999999'), parseAmount('0.005')];
  // 0.005 × 99999999999.99999999 = 499999999.99999999995, which no amount can hold.
  expect(isAtMostFraction(parseAmount('499999999.99999999'), half, base)).toBe(true);
  expect(isAtMostFraction(parseAmount('500000000'), half, base)).toBe(false);
  expect(isAtMostFraction(parseAmount('0.5'), half, parseAmount('100'))).toBe(true);
});
