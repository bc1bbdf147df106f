import { MatcherError } from '@matcher/shared/errors.ts';
import type { JobBody } from '@matcher/shared/jobs/contracts/bodies.ts';
import { type FieldMap, fieldMap } from '@matcher/shared/jobs/contracts/context.ts';
import type { ThreadedWork, WorkControl } from '@matcher/shared/jobs/definition.ts';
import type { Transaction } from '@matcher/shared/postgres/transaction.ts';
import { insertNew, keepRejections, type LoadTarget, maxKeptRejections, rejectRepeated, stage } from './load.ts';
import type { Rejection } from './read-fields.ts';
import { type NumberedRecord, readRecords } from './read-records.ts';
import { type LoadableTransaction, mappedColumns, readTransaction } from './read-transaction.ts';

/** Records of a file at most: a transaction's id has 26 bits for its place in the file. */
const maxRecords = 2 ** 26 - 1;

/** Rejected records that the result shows. */
const sampleSize = 20;

/** The file to load. */
export interface LoadTask {
  jobId: string;
  body: JobBody<'ingestion.run'>;
}

/**
 * Loads one file of one source, in one transaction. Bad records are reported and left out; a file that can't be read as what it is declared to be, or that
 * has no usable record, changes nothing.
 */
const load: ThreadedWork<'ingestion.run', LoadTask> = async (tx, task, control) => {
  const { context, source, objectKey, format } = task.body;
  const { target, mapping } = await lockSource(tx, task);
  const tally = { records: 0, rejected: 0, rejections: [] as Rejection[] };
  // A download holds a connection until it is read to its end or destroyed: it begins when nothing else can fail before that.
  const objects = await control.objects();
  const file = await objects.get(objectKey, { signal: control.signal });
  let staged: number;
  try {
    const records = readRecords(file, format, mappedColumns(mapping));
    staged = await stage(tx, usable(control, records, mapping, tally));
  } finally {
    file.destroy();
  }
  const repeated = await rejectRepeated(tx, target);
  const rejections = [...tally.rejections, ...repeated.rejections].sort((a, b) => a.row - b.row);
  const rejected = tally.rejected + repeated.count;
  if (rejected === tally.records) throw noUsableRecord(tally.records, rejections);
  const added = await insertNew(tx, target);
  await keepRejections(tx, task.jobId, rejections);
  return {
    context,
    source,
    records: tally.records,
    added,
    known: staged - repeated.count - added,
    rejected,
    rejectedSample: rejections.slice(0, sampleSize),
  };
};
export default load;

/** Finds the source and locks it until the end of the transaction, so that two files of one source are loaded one after the other. */
async function lockSource(
  tx: Transaction,
  { jobId, body }: LoadTask,
): Promise<{ target: LoadTarget; mapping: FieldMap }> {
  const [found] = await tx.query<{ id: number; context_id: number; field_map: unknown }>(
    `SELECT s.id, s.context_id, s.field_map FROM sources s JOIN contexts c ON c.id = s.context_id
      WHERE c.name = $1 AND s.name = $2 FOR UPDATE OF s`,
    [body.context, body.source],
  );
  if (!found) {
    throw new MatcherError('SOURCE_NOT_FOUND', `There is no context ${body.context} with a source ${body.source}`, {
      hint: 'Apply the context’s definition first.',
    });
  }
  return {
    target: { contextId: found.context_id, sourceId: found.id, jobId },
    mapping: fieldMap.parse(found.field_map),
  };
}

async function* usable(
  { signal, progress }: WorkControl,
  records: AsyncIterable<NumberedRecord>,
  mapping: FieldMap,
  tally: { records: number; rejected: number; rejections: Rejection[] },
): AsyncGenerator<LoadableTransaction> {
  for await (const record of records) {
    tally.records++;
    if (tally.records > maxRecords) {
      throw new MatcherError('FILE_TOO_LARGE', `The file has more than ${maxRecords} records`, { hint: 'Split it.' });
    }
    if (tally.records % 1000 === 0) {
      signal.throwIfAborted();
      progress({ stage: 'loading', done: tally.records, total: null });
    }
    const read = readTransaction(record, mapping);
    if (!('code' in read)) {
      yield read;
      continue;
    }
    tally.rejected++;
    if (tally.rejections.length < maxKeptRejections) tally.rejections.push(read);
  }
}

function noUsableRecord(records: number, rejections: readonly Rejection[]): MatcherError {
  const reasons = rejections.slice(0, 3).map(({ row, reason }) => `record ${row}: ${reason}`);
  const what = records === 0 ? 'The file has no records' : `None of the file's ${records} records can be used`;
  return new MatcherError('NO_USABLE_RECORD', [what, ...reasons].join('; '), {
    hint: 'Check the field map and the file; nothing was loaded.',
  });
}
