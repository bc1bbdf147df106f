import { randomUUID } from 'node:crypto';
import { extname } from 'node:path';
import { checkBody } from '@matcher/shared/jobs/client.ts';
import { checkObjectKey } from '@matcher/shared/objects/object-key.ts';
import type { Command } from 'commander';
import { Option } from 'commander';
import type { FileFormat } from '../context-file.ts';
import { UsageError } from '../failures.ts';
import { uploadFile } from '../file-transfer.ts';
import {
  contextOption,
  finishCommand,
  type Invocation,
  idempotencyKeyOption,
  required,
  type Shell,
  tenantOption,
  timeoutOption,
  waitOption,
} from '../invocation.ts';
import { ingestionText } from '../job-texts.ts';
import { fileProblem } from '../local-files.ts';
import { type TenantSession, withTenant, withTenantAndBucket } from '../tenant-session.ts';

interface Options {
  tenant?: string;
  context: string;
  source: string;
  format?: FileFormat;
  objectKey?: string;
  wait?: boolean;
  idempotencyKey?: string;
}

export function addIngestCommand(program: Command, shell: Shell): void {
  const command = program
    .command('ingest')
    .description(
      'Loads a file of one source: uploads it into the tenant’s part of the bucket and publishes ingestion.run.',
    )
    .argument('[file]', 'CSV with a header line, or a JSON array of objects; UTF-8')
    .addOption(tenantOption())
    .addOption(contextOption())
    .addOption(required(new Option('--source <name>', 'the source that the file is of')))
    .addOption(new Option('--format <format>', 'by the file’s extension when absent').choices(['CSV', 'JSON']))
    .option('--object-key <key>', 'instead of a file: what lies in the tenant’s part of the bucket already')
    .addOption(idempotencyKeyOption())
    .addOption(waitOption())
    .addOption(timeoutOption());
  finishCommand(
    command,
    shell,
    'matcher ingest ledger.csv --context card-settlement --source ledger --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --wait',
    async (invocation, options: Options, ...args: string[]) => ingest(invocation, options, args[0]),
  );
}

async function ingest(invocation: Invocation, options: Options, file: string | undefined): Promise<void> {
  const { context, source, objectKey } = options;
  if ((file === undefined) === (objectKey === undefined)) {
    throw new UsageError('USAGE', 'ingest takes a FILE or --object-key KEY, one of the two');
  }
  const format = options.format ?? formatOf(file ?? (objectKey as string));
  const bodyWith = (key: string) => ({ version: 1, context, source, objectKey: key, format }) as const;
  if (objectKey !== undefined) checkObjectKey(objectKey);
  // A wrong name must not cost an upload.
  checkBody('ingestion.run', bodyWith(objectKey ?? 'uploads/file'));
  if (file === undefined) {
    await withTenant(invocation, options.tenant, (session) =>
      publish(invocation, session, options, bodyWith(objectKey as string)),
    );
    return;
  }
  const problem = await fileProblem(file);
  if (problem) throw new UsageError('FILE_UNREADABLE', `${file} ${problem}`);
  await withTenantAndBucket(invocation, options.tenant, async (session) => {
    const jobId = randomUUID();
    const onProgress = (detail: string) => invocation.out.progress(`ingest ${source}`, 'uploading', detail);
    const key = await uploadFile(
      session.objects,
      { path: file, format, jobId },
      { signal: invocation.signal, onProgress },
    );
    await publish(invocation, session, options, bodyWith(key), jobId);
  });
}

async function publish(
  { out }: Invocation,
  { jobs }: TenantSession,
  { wait, source, idempotencyKey }: Options,
  body: { version: 1; context: string; source: string; objectKey: string; format: FileFormat },
  id: string = randomUUID(),
): Promise<void> {
  const jobId = await jobs.publish('ingestion.run', body, { id, idempotencyKey });
  if (!wait) return out.result({ jobId, objectKey: body.objectKey }, jobId);
  const result = await jobs.finish<'ingestion.run'>(jobId, `ingest ${source}`);
  out.result({ jobId, state: 'SUCCEEDED', result }, ingestionText(result));
}

function formatOf(name: string): FileFormat {
  const formats: Record<string, FileFormat> = { '.csv': 'CSV', '.json': 'JSON' };
  const format = formats[extname(name).toLowerCase()];
  if (format) return format;
  throw new UsageError('USAGE', `${name}: the extension does not say the format; add --format CSV or --format JSON`);
}
