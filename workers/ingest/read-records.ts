import type { Readable } from 'node:stream';
import { Transform } from 'node:stream';
import { errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import { CsvError, parse as parseCsv } from 'csv-parse';
import streamArray from 'stream-json/streamers/stream-array.js';

/** A record as it stands in its file: values by column name; numbers of a JSON file as the digits that were written. */
export type RawRecord = Record<string, unknown>;

export interface NumberedRecord {
  /** The first record is 1. */
  row: number;
  /** `undefined` where the row can't be read as a record: `problem` says why. */
  record: RawRecord | undefined;
  problem?: string;
}

/** A CSV record longer than this is a quote that was never closed. */
const maxRecordBytes = 1024 * 1024;

/**
 * Reads a file record by record, whatever its size.
 *
 * @throws MatcherError, permanent: `FILE_NOT_UTF8`, `FILE_MALFORMED` (of another format than declared, or broken in the middle),
 *   `COLUMNS_MISSING` (a CSV without the columns that the field map names).
 */
export async function* readRecords(
  source: Readable,
  format: 'CSV' | 'JSON',
  mappedColumns: readonly string[],
): AsyncGenerator<NumberedRecord> {
  const text = source.pipe(utf8());
  // pipe() does not hand errors on; without this a broken download would wait for ever.
  source.on('error', (error) => text.destroy(error));
  try {
    yield* format === 'CSV' ? csvRecords(text, mappedColumns) : jsonRecords(text);
  } finally {
    source.destroy();
  }
}

async function* csvRecords(text: Readable, mappedColumns: readonly string[]): AsyncGenerator<NumberedRecord> {
  let columns: string[] | undefined;
  const parser = text.pipe(
    parseCsv({
      skip_empty_lines: true,
      relax_column_count: true,
      max_record_size: maxRecordBytes,
    }),
  );
  text.on('error', (error) => parser.destroy(error));
  let row = 0;
  try {
    for await (const cells of parser as AsyncIterable<string[]>) {
      if (!columns) {
        columns = cells.map((name) => name.trim());
        checkColumns(columns, mappedColumns);
        continue;
      }
      row++;
      if (cells.length !== columns.length) {
        yield { row, record: undefined, problem: `has ${cells.length} columns where the header has ${columns.length}` };
        continue;
      }
      const record: RawRecord = {};
      for (let i = 0; i < columns.length; i++) record[columns[i] as string] = cells[i];
      yield { row, record };
    }
  } catch (error) {
    if (!(error instanceof CsvError)) throw error;
    // The parser's messages quote the data; its code and line do not.
    const { code, lines } = error as CsvError & { lines?: number };
    throw malformed(`as CSV: ${code} in line ${lines ?? '?'}`);
  }
  if (!columns) checkColumns([], mappedColumns);
}

function checkColumns(columns: readonly string[], mapped: readonly string[]): void {
  const missing = mapped.filter((name) => !columns.includes(name));
  if (missing.length > 0) {
    const shown =
      columns
        .slice(0, 30)
        .map((name) => name.slice(0, 60))
        .join(', ') || 'none';
    throw new MatcherError(
      'COLUMNS_MISSING',
      `The file has no column ${missing.join(', ')}; its columns are: ${shown}`,
      {
        hint: 'Check the source’s field map, and that the file is the CSV it is declared to be.',
      },
    );
  }
  const twice = columns.find((name, index) => columns.indexOf(name) !== index);
  if (twice !== undefined) throw malformed(`as CSV: two columns are called ${JSON.stringify(twice.slice(0, 60))}`);
}

async function* jsonRecords(text: Readable): AsyncGenerator<NumberedRecord> {
  // Numbers stay the digits that were written: as doubles, amounts would be changed before anybody saw them.
  const items = text.pipe(streamArray.withParserAsStream({ numberAsString: true }));
  text.on('error', (error) => items.destroy(error));
  let row = 0;
  try {
    for await (const { value } of items as AsyncIterable<{ value: unknown }>) {
      row++;
      const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
      yield isObject ? { row, record: value as RawRecord } : { row, record: undefined, problem: 'is not an object' };
    }
  } catch (error) {
    // What the consumer of this generator throws does not come here; what does is the parser's or the download's.
    if (error instanceof MatcherError || isDownloadError(error)) throw error;
    throw malformed(`as a JSON array of objects, after record ${row}`);
  }
}

function isDownloadError(error: unknown): boolean {
  return typeof (error as { code?: unknown }).code === 'string' || (error as Error).name === 'TimeoutError';
}

function malformed(how: string): MatcherError {
  return new MatcherError('FILE_MALFORMED', `The file cannot be read ${how}`, {
    hint: 'Check the declared format. A file is taken as a whole or not at all.',
  });
}

/** Bytes to text, refusing what is not UTF-8 instead of putting question marks into descriptions. A byte order mark is dropped. */
function utf8(): Transform {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const decode = (chunk: Buffer | undefined, done: (error: Error | null, text?: string) => void) => {
    try {
      done(null, decoder.decode(chunk, { stream: chunk !== undefined }));
    } catch (cause) {
      done(
        new MatcherError('FILE_NOT_UTF8', `The file is not UTF-8 (${errorMessage(cause)})`, {
          hint: 'Convert it first.',
        }),
      );
    }
  };
  return new Transform({
    decodeStrings: false,
    encoding: 'utf8',
    transform: (chunk, _encoding, done) => decode(chunk, done),
    flush: (done) => decode(undefined, done),
  });
}
