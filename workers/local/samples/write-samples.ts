import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { bankStatement } from './bank-statement.ts';
import { cardSettlement } from './card-settlement.ts';
import type { Sample, SampleReconciliation, SampleRecord, SampleSource, SampleTruth } from './sample.ts';

/** With fewer, some scenario would have no record. */
const FEWEST_RECORDS = 100;

/** Ids have seven digits, and the amounts of ten million slots stay exact as JavaScript numbers. */
const MOST_RECORDS = 5_000_000;

const CHUNK_CHARACTERS = 64 * 1024;

export interface SampleOptions {
  /** Same seed and size, same bytes. An integer; 1 unless told. */
  seed?: number;
  /** Records on each side, the bad ones included; 10,000 unless told, 100 to 5,000,000. */
  records?: number;
}

/**
 * Writes the card settlement and the bank statement sample, each into a folder of its own below `directory` with its
 * context file `context.yaml`. Records go to the files as they are made; only the truth is kept.
 *
 * @throws RangeError when the size or the seed is not an integer within its bounds
 */
export async function writeSamples(directory: string, options: SampleOptions = {}): Promise<Sample[]> {
  const { seed = 1, records = 10_000 } = options;
  if (!Number.isSafeInteger(seed)) throw new RangeError(`The seed must be an integer, not ${seed}.`);
  if (!Number.isInteger(records) || records < FEWEST_RECORDS || records > MOST_RECORDS) {
    throw new RangeError(`A sample has ${FEWEST_RECORDS} to ${MOST_RECORDS} records on each side, not ${records}.`);
  }
  const samples: Sample[] = [];
  for (const reconciliation of [cardSettlement(seed, records), bankStatement(seed, records)]) {
    samples.push(await writeSample(path.resolve(directory, reconciliation.name), reconciliation));
  }
  return samples;
}

async function writeSample(folder: string, reconciliation: SampleReconciliation): Promise<Sample> {
  const { name, left, right } = reconciliation;
  await mkdir(folder, { recursive: true });
  const contextFile = path.join(folder, 'context.yaml');
  await writeFile(contextFile, reconciliation.context);
  const truth: SampleTruth = {
    recordsRead: { left: left.records, right: right.records },
    pairs: [],
    open: { left: [], right: [] },
    bad: [],
    matchedByRule: Object.fromEntries(reconciliation.rules.map((rule) => [rule, 0])),
    exceptionsByReason: {},
  };
  const dataFiles = { left: path.join(folder, left.file), right: path.join(folder, right.file) };
  await writeSource(dataFiles.left, left, truth);
  await writeSource(dataFiles.right, right, truth);
  return { name, contextFile, dataFiles, truth };
}

async function writeSource(file: string, source: SampleSource, truth: SampleTruth): Promise<void> {
  const text = source.format === 'CSV' ? csvText(source, truth) : jsonText(source, truth);
  await pipeline(Readable.from(inChunks(text)), createWriteStream(file));
}

function* recordsOf(source: SampleSource, truth: SampleTruth): Generator<SampleRecord> {
  for (let position = 0; position < source.records; position++) {
    const record = source.record(position);
    noteFate(truth, source, record, position + 1);
    yield record;
  }
}

function noteFate(truth: SampleTruth, { side }: SampleSource, { externalId, fate }: SampleRecord, row: number): void {
  if (fate.kind === 'BAD') {
    truth.bad.push({ side, row, field: fate.field, column: fate.column, reason: fate.reason });
  } else if (fate.kind === 'OPEN') {
    truth.open[side === 'LEFT' ? 'left' : 'right'].push(externalId);
    truth.exceptionsByReason[fate.reason] = (truth.exceptionsByReason[fate.reason] ?? 0) + 1;
  } else if (side === 'LEFT') {
    truth.pairs.push({ left: externalId, right: fate.partner, rule: fate.rule });
    truth.matchedByRule[fate.rule] = (truth.matchedByRule[fate.rule] ?? 0) + 1;
  }
}

/** RFC 4180: a cell with a comma, a quote or a line break is quoted; so is one with blanks on its ends. */
function* csvText(source: SampleSource, truth: SampleTruth): Generator<string> {
  let columns: string[] | undefined;
  for (const { values } of recordsOf(source, truth)) {
    if (columns === undefined) {
      columns = Object.keys(values);
      yield columns.join(',') + source.lineEnd;
    }
    yield columns.map((column) => csvCell(values[column] ?? '')).join(',') + source.lineEnd;
  }
}

function csvCell(value: string): string {
  return /[",\r\n]|^\s|\s$/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

function* jsonText(source: SampleSource, truth: SampleTruth): Generator<string> {
  let before = '[\n';
  for (const { values } of recordsOf(source, truth)) {
    yield before + JSON.stringify(values);
    before = ',\n';
  }
  yield '\n]\n';
}

function* inChunks(parts: Iterable<string>): Generator<string> {
  let chunk = '';
  for (const part of parts) {
    chunk += part;
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield chunk;
    chunk = '';
  }
  if (chunk !== '') yield chunk;
}
