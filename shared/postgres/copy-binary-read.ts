import type { Readable } from 'node:stream';

/**
 * Takes one row of COPY's binary format (PostgreSQL manual, "COPY", File Formats), from `at`, behind the number of its fields. The bytes belong to the
 * driver: what is to stay is copied out of them.
 *
 * @returns where the row ends; `INCOMPLETE` when that is not before `end`: the same row is offered again once more of it has come.
 */
export type TakeRow = (bytes: Uint8Array, at: number, end: number) => number;

export const INCOMPLETE = -1;

export const signature = Buffer.from('PGCOPY\n\xff\r\n\0', 'latin1');
/** Signature, flags, length of the header's extension. */
const headerLength = signature.length + 8;

/**
 * Reads what `COPY … TO STDOUT (FORMAT binary)` sends, row by row and without an object for any of them.
 *
 * @param betweenChunks called for each piece that arrives, some ten kilobytes; what it throws ends the reading.
 */
export async function readBinaryRows(stream: Readable, take: TakeRow, betweenChunks: () => void): Promise<void> {
  let rest: Buffer = Buffer.alloc(0);
  let begun = false;
  let ended = false;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    betweenChunks();
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    if (!begun && bytes.length >= headerLength) {
      if (signature.compare(bytes, 0, signature.length) !== 0) throw new Error('This is no COPY in binary format');
      at = headerLength + int32At(bytes, headerLength - 4);
      begun = true;
    }
    while (begun && !ended && at + 2 <= bytes.length) {
      if (bytes[at] === 0xff) {
        ended = true;
        at += 2;
        break;
      }
      const next = take(bytes, at + 2, bytes.length);
      if (next === INCOMPLETE) break;
      at = next;
    }
    rest = Buffer.from(bytes.subarray(at));
  }
  if (!ended) throw new Error('A COPY ended before its end was said');
}

export function int32At(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)
  );
}

export function uint32At(bytes: Uint8Array, at: number): number {
  return int32At(bytes, at) >>> 0;
}

/** Milliseconds between 1970, where JavaScript's time begins, and 2000, where PostgreSQL's does. */
export const POSTGRES_EPOCH = Date.UTC(2000, 0, 1);

/** The time that a timestamptz says, in milliseconds since 1970-01-01T00:00Z, rounded as PostgreSQL rounds. */
export function timestampAt(bytes: Uint8Array, at: number): number {
  const micros = int32At(bytes, at) * 2 ** 32 + uint32At(bytes, at + 4);
  const milliseconds = POSTGRES_EPOCH + micros / 1000;
  return milliseconds < 0 ? 0 - Math.round(-milliseconds) : Math.round(milliseconds);
}
