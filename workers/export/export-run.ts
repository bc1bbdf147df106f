import { createHash, randomUUID } from 'node:crypto';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import { copyReport } from './reports.ts';

/** `export.run`: writes a report from one snapshot of the database straight into the tenant's bucket. */
export const exportRun: JobDefinition<'export.run'> = {
  type: 'export.run',
  async run(job, { objects, log }) {
    const { context, report, format } = job.body;
    return async (tx) => {
      const [found] = await tx.query<{ id: number; day: string }>(
        `SELECT id, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day FROM contexts WHERE name = $1`,
        [context],
      );
      if (!found) {
        throw new MatcherError('CONTEXT_NOT_FOUND', `There is no context ${context}`, {
          hint: 'Apply its definition first.',
        });
      }
      const fileName = `${context}-${report.toLowerCase()}-${found.day}.csv`;
      // A key of its own for every attempt: one that lost its job and comes back late must not write over the finished file.
      const objectKey = `exports/${context}/${job.id}/${randomUUID().slice(0, 8)}/${fileName}`;
      const copy = tx.copyOut(copyReport(report, found.id));
      const digest = createHash('sha256');
      let bytes = 0;
      const measure = new Transform({
        transform(chunk: Buffer, _encoding, done) {
          digest.update(chunk);
          bytes += chunk.length;
          job.progress({ stage: 'writing', done: bytes, total: null });
          done(null, chunk);
        },
      });
      try {
        await Promise.all([
          pipeline(copy.stream, measure, { signal: job.signal, end: true }),
          objects.upload(objectKey, measure, { contentType: 'text/csv; charset=utf-8', signal: job.signal }),
        ]);
      } catch (error) {
        // The upload must not wait for bytes that no longer come.
        measure.destroy();
        throw error;
      }
      // COPY counts records, the header is none.
      const rows = copy.rows();
      const sha256 = digest.digest('hex');
      await tx.query(
        `INSERT INTO exports (job_id, context_id, report, format, object_key, file_name, rows, bytes, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [job.id, found.id, report, format, objectKey, fileName, rows, bytes, sha256],
      );
      const url = await objects.presign(objectKey, fileName);
      log.info({ report, rows, bytes }, 'exported');
      return { context, report, format, rows, bytes, sha256, objectKey, fileName, ...url };
    };
  },
};
