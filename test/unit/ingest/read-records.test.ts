import { PassThrough, Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { type NumberedRecord, readRecords } from '../../../workers/ingest/read-records.ts';

/** As a download comes in: in pieces, whatever they cut through. */
function pieces(content: string, size = 64 * 1024): Readable {
  const bytes = Buffer.from(content);
  return Readable.from(
    (function* () {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
    })(),
  );
}

const read = (content: string, format: 'CSV' | 'JSON', mapped: string[] = []): Promise<NumberedRecord[]> =>
  Array.fromAsync(readRecords(pieces(content), format, mapped));

describe('a CSV', () => {
  test('with 200,000 columns is refused by their number', async () => {
    const header = Array.from({ length: 200_000 }, (_, i) => `c${i}`.slice(-4)).join(',');
    await expect(read(`${header}\n`, 'CSV', ['c1'])).rejects.toMatchObject({
      code: 'FILE_MALFORMED',
      message: expect.stringContaining('200000 columns'),
    });
  });

  test('with a column twice is refused', () =>
    expect(read('id,x,id\n', 'CSV', ['id'])).rejects.toMatchObject({
      code: 'FILE_MALFORMED',
      message: expect.stringContaining('"id"'),
    }));

  test('keeps a column that is called as an object’s prototype', async () => {
    const [{ record } = { record: undefined }] = await read('id,__proto__\na,kept\n', 'CSV', ['id']);
    expect(Object.entries(record ?? {})).toEqual([
      ['id', 'a'],
      ['__proto__', 'kept'],
    ]);
  });

  test('without the columns is refused with a text that can be stored and shown', async () => {
    const error = await read(`${'x'.repeat(59)}😀,a\0b,c\u0007d,e\n`, 'CSV', ['id']).catch((failure: Error) => failure);
    expect(error).toMatchObject({ code: 'COLUMNS_MISSING' });
    const { message } = error as Error;
    expect(message.isWellFormed()).toBe(true);
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(message).toContain('a�b, c�d, e');
  });
});

describe('a JSON', () => {
  test('keeps a key that is called as an object’s prototype', async () => {
    const [{ record } = { record: undefined }] = await read('[{"id": "a", "__proto__": "kept"}]', 'JSON');
    expect(Object.entries(record ?? {})).toEqual([
      ['id', 'a'],
      ['__proto__', 'kept'],
    ]);
  });

  test('of many records is read whatever their number', async () => {
    const records = Array.from({ length: 200 }, (_, i) => ({ id: `${i}`, text: 'x'.repeat(20_000) }));
    expect(await read(JSON.stringify(records), 'JSON')).toHaveLength(200);
  });

  test.each([
    ['one long text', `[{"id":"a"},{"id":"${'x'.repeat(1024 * 1024 + 10)}"}]`],
    ['many short ones', `[{"id":"a"},{"n":[${'{},'.repeat(600_000)}1]}]`],
    ['an endless number', `[{"id":"a"},{"n":${'1'.repeat(1024 * 1024 + 10)}}]`],
    ['an endless key', `[{"id":"a"},{"${'k'.repeat(1024 * 1024 + 10)}":1}]`],
  ])('with a record of more than 1 MiB, by %s, is refused', async (_by, content) => {
    await expect(read(content, 'JSON')).rejects.toMatchObject({
      code: 'FILE_MALFORMED',
      message: expect.stringContaining('record 2 is larger than 1 MiB'),
    });
  });

  test('with a record that never ends is refused before it fills the memory', async () => {
    let given = 0;
    const endless = Readable.from(
      (function* () {
        yield Buffer.from('[{"id":"a","n":[');
        for (; given < 1000; given++) yield Buffer.from('"x",'.repeat(16 * 1024));
      })(),
    );
    await expect(Array.fromAsync(readRecords(endless, 'JSON', []))).rejects.toMatchObject({ code: 'FILE_MALFORMED' });
    expect(given).toBeLessThan(100);
  });
});

describe.each(['CSV', 'JSON'] as const)('a download of %s', (format) => {
  test('that breaks off fails as the download failed', async () => {
    const source = new PassThrough();
    const reading = Array.fromAsync(readRecords(source, format, []));
    source.write(format === 'CSV' ? 'id\na\n' : '[{"id":"a"},');
    source.destroy(new Error('the network is away'));
    await expect(reading).rejects.toThrow('the network is away');
  });

  test('that had failed before it is read fails the same way', async () => {
    const source = new PassThrough().on('error', () => {});
    source.destroy(new Error('the network is away'));
    await new Promise((closed) => source.once('close', closed));
    await expect(Array.fromAsync(readRecords(source, format, []))).rejects.toThrow('the network is away');
  });
});
