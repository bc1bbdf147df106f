import { Readable } from 'node:stream';
import { NUMERIC_BYTES, numericAt, putNumeric, WideNumeric } from '@matcher/shared/postgres/copy-binary-numeric.ts';
import { INCOMPLETE, int32At, readBinaryRows } from '@matcher/shared/postgres/copy-binary-read.ts';
import { BinaryRows } from '@matcher/shared/postgres/copy-binary-write.ts';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';

/** Rows with one text each, as they would be sent. */
function sent(texts: readonly string[]): Buffer {
  const rows = new BinaryRows();
  const chunks: Buffer[] = [];
  for (const text of texts) {
    rows.begin(1);
    rows.bytes(Buffer.from(text));
    const chunk = rows.full();
    if (chunk) chunks.push(chunk);
  }
  return Buffer.concat([...chunks, rows.end()]);
}

/** The texts of such rows, read from pieces of any size. */
async function received(pieces: readonly Uint8Array[]): Promise<string[]> {
  const texts: string[] = [];
  const take = (bytes: Uint8Array, at: number, end: number) => {
    if (at + 4 > end) return INCOMPLETE;
    const next = at + 4 + int32At(bytes, at);
    if (next > end) return INCOMPLETE;
    texts.push(Buffer.from(bytes.subarray(at + 4, next)).toString());
    return next;
  };
  await readBinaryRows(Readable.from(pieces), take, () => {});
  return texts;
}

test('rows come out as they went in, wherever the pieces between them are cut', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: 'grapheme', maxLength: 80 }), { maxLength: 20 }),
      fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 10 }),
      async (texts, sizes) => {
        const bytes = sent(texts);
        const pieces: Buffer[] = [];
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const size = sizes[i % sizes.length] as number;
          pieces.push(Buffer.from(bytes.subarray(at, at + size)));
          at += size;
        }
        expect(await received(pieces)).toEqual(texts);
      },
    ),
  );
});

test('a piece may be written over once the next one is asked for', async () => {
  const texts = Array.from({ length: 2000 }, (_, i) => `text ${i}`);
  const bytes = sent(texts);
  const slab = Buffer.alloc(1000);
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += slab.length) {
      const piece = bytes.subarray(at, at + slab.length);
      slab.set(piece);
      yield slab.subarray(0, piece.length);
      slab.fill(0xee);
    }
  }
  const found: string[] = [];
  await readBinaryRows(
    pieces() as unknown as Readable,
    (piece, at, end) => {
      if (at + 4 > end || at + 4 + int32At(piece, at) > end) return INCOMPLETE;
      found.push(Buffer.from(piece.subarray(at + 4, at + 4 + int32At(piece, at))).toString());
      return at + 4 + int32At(piece, at);
    },
    () => {},
  );
  expect(found).toEqual(texts);
});

test('data that ends too early, and what is no such data, are errors', async () => {
  const bytes = sent(['a', 'b']);
  await expect(received([bytes.subarray(0, bytes.length - 2)])).rejects.toThrow(/ended before its end/);
  await expect(received([Buffer.from('a\tb\n'.repeat(20))])).rejects.toThrow(/no COPY in binary format/);
});

test('chunks go out once they are large, and a field that is larger than any of them whole', async () => {
  const rows = new BinaryRows();
  const large = Buffer.alloc(1_000_000, 'x');
  rows.begin(1);
  expect(rows.full()).toBeUndefined();
  rows.bytes(large);
  const chunk = rows.full() as Buffer;
  expect(await received([chunk, rows.end()])).toEqual([large.toString()]);
});

describe('a numeric', () => {
  const most = 10n ** 28n - 1n;
  const amount = fc.oneof(
    fc.bigInt({ min: -most, max: most }),
    fc.bigInt({ min: -(10n ** 16n), max: 10n ** 16n }),
    fc.bigInt({ min: -(10n ** 9n), max: 10n ** 9n }).map((value) => value * 10n ** 6n),
    fc.constantFrom(0n, 1n, -1n, 2n ** 52n, -(2n ** 52n), 2n ** 52n + 1n, 10n ** 14n, -(10n ** 14n), most, -most),
  );

  test('is read and written exactly, in one word where it fits and in two', () => {
    const view = new DataView(new ArrayBuffer(NUMERIC_BYTES));
    const bytes = new Uint8Array(view.buffer);
    const wide = new WideNumeric();
    fc.assert(
      fc.property(amount, (value) => {
        wide.exact(value);
        const { high, low } = wide;
        expect(BigInt(high) * 10n ** 14n + BigInt(low)).toBe(value);
        expect(low >= 0 && low < 1e14).toBe(true);
        putNumeric(view, 0, high, low);
        wide.read(bytes, 0);
        expect([wide.high, wide.low]).toEqual([high, low]);
        const narrow = numericAt(bytes, 0);
        if (value > 2n ** 52n || value < -(2n ** 52n)) {
          expect(narrow).toBeNaN();
          return;
        }
        expect(narrow).toBe(Number(value));
        putNumeric(view, 0, 0, Number(value));
        expect(numericAt(bytes, 0)).toBe(narrow);
        wide.split(narrow);
        expect([wide.high, wide.low]).toEqual([high, low]);
      }),
      { numRuns: 2000 },
    );
  });

  test('that is no number is refused', () => {
    expect(() => numericAt(Uint8Array.of(0, 0, 0, 0, 0xc0, 0, 0, 0), 0)).toThrow(/no number/);
  });
});
