import { NUMERIC_BYTES, putNumeric } from './copy-binary-numeric.ts';
import { POSTGRES_EPOCH, signature } from './copy-binary-read.ts';

/** From this many bytes on a chunk goes out: a write per row would cost more than the row. */
const CHUNK = 256 * 1024;
/** What a chunk may grow by before it is looked at. */
const SLACK = 16 * 1024;
/** Most bytes that a field of a fixed size takes. */
const FIELD = 4 + NUMERIC_BYTES;
/** Shorter texts are copied byte by byte. */
const SHORT = 48;

/** No flags, no extension. */
const header = Buffer.concat([signature, Buffer.alloc(8)]);

/**
 * Rows for `COPY … FROM STDIN (FORMAT binary)`: `begin` each with the number of its fields, then give every field in the order of the columns, with
 * the method for the column's type. After each row `full` may have a chunk to send; `end` has the last.
 */
export class BinaryRows {
  #bytes = Buffer.allocUnsafeSlow(CHUNK + SLACK);
  #view = viewOf(this.#bytes);
  #at = header.copy(this.#bytes);

  begin(fields: number): void {
    if (this.#at + FIELD > this.#bytes.length) this.#grow(FIELD);
    this.#view.setInt16(this.#at, fields);
    this.#at += 2;
  }

  null(): void {
    this.#length(-1);
  }

  int2(value: number): void {
    this.#length(2);
    this.#view.setInt16(this.#at, value);
    this.#at += 2;
  }

  int4(value: number): void {
    this.#length(4);
    this.#view.setInt32(this.#at, value);
    this.#at += 4;
  }

  /** A bigint as its upper and lower 32 bits. */
  int8(high: number, low: number): void {
    this.#length(8);
    this.#view.setInt32(this.#at, high);
    this.#view.setInt32(this.#at + 4, low);
    this.#at += 8;
  }

  /** A "char": one byte. */
  char(code: number): void {
    this.#length(1);
    this.#bytes[this.#at++] = code;
  }

  /** A numeric with 8 decimals, see `putNumeric`. */
  numeric(high: number, low: number): void {
    const at = this.#length(0);
    const length = putNumeric(this.#view, this.#at, high, low);
    this.#view.setInt32(at, length);
    this.#at += length;
  }

  /** A timestamptz, from whole milliseconds since 1970-01-01T00:00Z. */
  time(milliseconds: number): void {
    // Microseconds are beyond what a double counts, so both words are counted for themselves.
    const since = Math.round(milliseconds - POSTGRES_EPOCH);
    const upper = Math.floor(since / 2 ** 32);
    const micros = (since - upper * 2 ** 32) * 1000;
    const over = Math.floor(micros / 2 ** 32);
    this.int8(upper * 1000 + over, micros - over * 2 ** 32);
  }

  /** A text in UTF-8, or whatever else is sent as its bytes are. */
  bytes(value: Uint8Array): void {
    const { length } = value;
    if (this.#at + FIELD + length > this.#bytes.length) this.#grow(FIELD + length);
    this.#length(length);
    if (length > SHORT) this.#bytes.set(value, this.#at);
    else for (let i = 0; i < length; i++) this.#bytes[this.#at + i] = value[i] as number;
    this.#at += length;
  }

  /** A jsonb, from its text. */
  jsonb(text: string): void {
    const most = 1 + 3 * text.length;
    if (this.#at + FIELD + most > this.#bytes.length) this.#grow(FIELD + most);
    const at = this.#length(0);
    this.#bytes[this.#at] = 1; // the version of the format
    const length = 1 + this.#bytes.write(text, this.#at + 1);
    this.#view.setInt32(at, length);
    this.#at += length;
  }

  /** The rows so far when they are worth a write. */
  full(): Buffer | undefined {
    if (this.#at < CHUNK) return undefined;
    const chunk = this.#bytes.subarray(0, this.#at);
    this.#bytes = Buffer.allocUnsafeSlow(CHUNK + SLACK);
    this.#view = viewOf(this.#bytes);
    this.#at = 0;
    return chunk;
  }

  /** The rows since the last chunk, and the end of the data. */
  end(): Buffer {
    this.begin(-1);
    return this.#bytes.subarray(0, this.#at);
  }

  /** @returns where the length stands. */
  #length(length: number): number {
    if (this.#at + FIELD > this.#bytes.length) this.#grow(FIELD);
    const at = this.#at;
    this.#view.setInt32(at, length);
    this.#at = at + 4;
    return at;
  }

  #grow(by: number): void {
    const larger = Buffer.allocUnsafeSlow(2 * this.#bytes.length + by);
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
    this.#view = viewOf(larger);
  }
}

function viewOf({ buffer, byteOffset, byteLength }: Buffer): DataView {
  return new DataView(buffer, byteOffset, byteLength);
}
