import { loadSettings } from '@matcher/shared/config/load.ts';
import { createS3Client } from '@matcher/shared/objects/tenant-objects.ts';
import { createTenantManagerClient, type TenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { isAboutTenant } from '@matcher/shared/tenancy/manager-refusals.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { type Command, Option } from 'commander';
import { Interrupted, PartlyDone, UsageError } from '../failures.ts';
import { finishCommand, type Invocation, required, type Shell } from '../invocation.ts';
import { type Migration, migrateObjects } from '../object-migration.ts';
import { grouped, oneLine, table } from '../terminal-text.ts';

interface Options {
  tenant: string;
  folder: string[];
  dryRun?: boolean;
}

/** A server copies a large object in one request, and says nothing until it is done. */
const patience = { connect: 5000, silence: 10 * 60_000 };
/** Lines of a kind that a person wants to read. */
const maxLines = 20;

export function addObjectsCommand(program: Command, shell: Shell): void {
  const objects = program.command('objects').description('Looks after the bucket.');
  const migrate = objects
    .command('migrate')
    .description(
      'After the switch to multi-tenant mode: moves what single-tenant mode left in the bucket to a tenant. Stop the workers of single-tenant mode ' +
        'first. It can be interrupted, and run again.',
    )
    .addOption(required(new Option('--tenant <id>', 'whose the objects become')))
    .addOption(
      new Option('--folder <name>', 'a folder of yours beside exports/ and uploads/ to be moved too; may be repeated')
        .argParser((name: string, before: string[]) => [...before, folderName(name)])
        .default([], 'none'),
    )
    .option('--dry-run', 'report what would be moved, and change nothing');
  finishCommand(
    migrate,
    shell,
    'matcher objects migrate --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --dry-run',
    async (invocation, options: Options) => {
      const migration = await run(invocation, canonicalTenantId(options.tenant), options);
      const { problems } = migration;
      if (problems.count === 0 || !invocation.out.json) invocation.out.result(migration, migrationText(migration));
      if (problems.count > 0) throw leftBehind(migration);
    },
  );
}

async function run({ out, signal }: Invocation, tenantId: TenantId, options: Options): Promise<Migration> {
  const { folder: folders, dryRun = false } = options;
  // The tenants are those of multi-tenant mode, whether or not this environment has been switched to it already.
  const settings = loadSettings('client', { ...process.env, MULTI_TENANT_ENABLED: 'true' });
  const manager = createTenantManagerClient(settings);
  await manager.config(tenantId);
  const s3 = createS3Client(settings, patience);
  let moved = 0;
  try {
    return await migrateObjects({
      s3,
      settings,
      tenantId,
      folders,
      tenants: { listActive: () => manager.listActive(signal), exists: existsAt(manager) },
      dryRun,
      signal,
      onProgress(migration) {
        moved = migration.moved.objects;
        const count = moved + migration.alreadyThere.objects;
        out.progress('objects', dryRun ? 'looking' : 'moving', `${grouped(count)} so far`);
      },
    });
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error;
    throw new Interrupted(`Interrupted; ${grouped(moved)} objects ${dryRun ? 'would be' : 'were'} moved so far`, {
      hint: 'The same command continues.',
    });
  } finally {
    s3.destroy();
  }
}

/** Whether the Tenant Manager has that tenant, in whatever state; when it can't say, that is not taken for a no. */
function existsAt(manager: TenantManagerClient) {
  return async (tenantId: TenantId): Promise<boolean> => {
    try {
      await manager.config(tenantId);
      return true;
    } catch (error) {
      if (!isAboutTenant(error)) throw error;
      return error.code !== 'TENANT_NOT_FOUND';
    }
  };
}

function folderName(text: string): string {
  const name = text.replace(/\/$/, '');
  if (name !== '' && !name.includes('/')) return name;
  throw new UsageError('USAGE', `--folder takes the name of a folder at the top of the bucket; got ${text}`);
}

function migrationText(migration: Migration): string {
  const { dryRun, moved, alreadyThere, tenantFolders, undecidedFolders, foreignKeys } = migration;
  const lines = [
    table(
      ['', 'OBJECTS', 'BYTES'],
      [
        [dryRun ? 'to be moved' : 'moved', moved.objects, moved.bytes],
        [dryRun ? 'there already, to be cleaned up' : 'there already', alreadyThere.objects, alreadyThere.bytes],
      ],
    ),
  ];
  if (tenantFolders > 0) lines.push(`${grouped(tenantFolders)} folders belong to tenants and were left alone.`);
  if (undecidedFolders.length > 0) {
    lines.push(
      'Left alone, because they may be a tenant’s, or another program’s; --folder NAME moves one that is not:',
      ...shown(undecidedFolders, undecidedFolders.length),
    );
  }
  if (foreignKeys.count > 0) {
    lines.push('Left alone, because no job can name these keys:', ...shown(foreignKeys.keys, foreignKeys.count));
  }
  return lines.join('\n');
}

function leftBehind(migration: Migration): PartlyDone {
  const { count, objects } = migration.problems;
  const lines = objects.map(({ key, code, problem }) => `${key}: ${problem} [${code}]`);
  const what = count === 1 ? '1 object was not moved' : `${grouped(count)} objects were not moved`;
  return new PartlyDone('OBJECTS_LEFT', `${what}:\n${shown(lines, count).join('\n')}`, {
    hint: 'Nothing of them was deleted. Of two objects with one key, keep the right one; then run the command again.',
    done: migration,
    problems: objects,
  });
}

function shown(lines: readonly string[], count: number): string[] {
  const rest = count - Math.min(lines.length, maxLines);
  return [
    ...lines.slice(0, maxLines).map((line) => `  ${oneLine(line)}`),
    ...(rest > 0 ? [`  and ${grouped(rest)} more`] : []),
  ];
}
