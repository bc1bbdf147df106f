import { randomUUID } from 'node:crypto';
import { MatcherError } from '@matcher/shared/errors.ts';
import type { JobDefinition } from '@matcher/shared/jobs/definition.ts';
import { copyReport } from './reports.ts';
import { writeReport } from './write-report.ts';

/** `export.run`: writes a report from one snapshot of the database, or of its replica, straight into the tenant's bucket. */
export const exportRun: JobDefinition<'export.run'> = {
  type: 'export.run',
  async run(job, { snapshot, objects, log }) {
    const { context, report, format } = job.body;
    const file = await snapshot(async (tx) => {
      const [found] = await tx.query<{ id: number; day: string; replica: boolean }>(
        `SELECT id, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, pg_is_in_recovery() AS replica
           FROM contexts WHERE name = $1`,
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
      const written = await writeReport(tx.copyOut(copyReport(report, found.id)), objects, objectKey, job);
      return { contextId: found.id, replica: found.replica, fileName, objectKey, ...written };
    }, job.signal);
    return async (tx) => {
      const { contextId, replica, fileName, objectKey, rows, bytes, sha256 } = file;
      await tx.query(
        `INSERT INTO exports (job_id, context_id, report, format, object_key, file_name, rows, bytes, sha256)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
        [job.id, contextId, report, format, objectKey, fileName, rows, bytes, sha256],
      );
      const url = await objects.presign(objectKey, fileName);
      log.info({ report, rows, bytes, replica }, 'exported');
      return { context, report, format, rows, bytes, sha256, objectKey, fileName, ...url };
    };
  },
};
