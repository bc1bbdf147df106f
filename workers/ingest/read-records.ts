import { pipeline, type Readable, Transform } from 'node:stream';
import { errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import { CsvError, parse as parseCsv } from 'csv-parse';
import { jsonItems } from './json-items.ts';
import { quoted } from './quoted.ts';

/** A record as it stands in its file: values by column name; numbers of a JSON file as the digits that were written. */
export type RawRecord = Record<string, unknown>;

export interface NumberedRecord {
  /** The first record is 1. */
  row: number;
  /** `undefined` where the row can't be read as a record: `problem` says why. */
  record: RawRecord | undefined;
  problem?: string;
}

/** A record larger than this is no transaction: in a CSV, a quote that was never closed. */
const maxRecordBytes = 1024 * 1024;

/** A CSV with more is no list of transactions, and each of its records would be an object of that size. */
const maxColumns = 1000;

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
  // pipe() does not hand errors on, nor notices that a download has failed before: it would wait for ever.
  const text = pipeline(source, utf8(), () => {});
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
      for (let i = 0; i < columns.length; i++) {
        const name = columns[i] as string;
        // A column may have any name. Objects without a prototype would do, too, and be much slower.
        if (name === '__proto__') Object.defineProperty(record, name, { value: cells[i], enumerable: true });
        else record[name] = cells[i];
      }
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
  if (columns.length > maxColumns) throw malformed(`as CSV: it has ${columns.length} columns, more than ${maxColumns}`);
  const seen = new Set<string>();
  for (const name of columns) {
    if (seen.has(name)) throw malformed(`as CSV: two columns are called ${JSON.stringify(quoted(name, 60))}`);
    seen.add(name);
  }
  const missing = mapped.filter((name) => !seen.has(name));
  if (missing.length === 0) return;
  const shown = columns.slice(0, 30).map((name) => quoted(name, 60));
  throw new MatcherError(
    'COLUMNS_MISSING',
    `The file has no column ${missing.join(', ')}; its columns are: ${shown.join(', ') || 'none'}`,
    { hint: 'Check the source’s field map, and that the file is the CSV it is declared to be.' },
  );
}

async function* jsonRecords(text: Readable): AsyncGenerator<NumberedRecord> {
  const items = text.pipe(jsonItems(maxRecordBytes));
  text.on('error', (error) => items.destroy(error));
  let row = 0;
  try {
    for await (const { value } of items as AsyncIterable<{ value: unknown }>) {
      row++;
      const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
      yield isObject ? { row, record: value as RawRecord } : { row, record: undefined, problem: 'is not an object' };
    }
  } catch (error) {
    // What the consumer of this generator throws does not come here; what does is the parser's, the decoder's or the download's.
    if (error instanceof MatcherError || text.errored) throw error;
    throw malformed(`as a JSON array of objects, after record ${row}`);
  }
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
