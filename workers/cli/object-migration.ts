import { ListObjectsV2Command, type S3Client } from '@aws-sdk/client-s3';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import { checkObjectKey } from '@matcher/shared/objects/object-key.ts';
import { storageFailure } from '@matcher/shared/objects/storage-failure.ts';
import { type TenantId, tryCanonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { moveObject, type StoredObject } from './object-move.ts';

/** Objects under way at the same time: each is four requests, one after the other, that cost the storage little and the network a way and back. */
const concurrency = 32;
/** Keys that are shown of each kind; a bucket may hold millions of them. */
const maxShown = 1000;

/** Where the product itself puts objects. */
const ownFolders = ['exports', 'uploads'];

export interface MigrationOptions {
  s3: S3Client;
  settings: Settings;
  tenantId: TenantId;
  /** Further folders to be moved, by their names. */
  folders: readonly string[];
  /** What the Tenant Manager knows. */
  tenants: { listActive(): Promise<TenantId[]>; exists(tenantId: TenantId): Promise<boolean> };
  dryRun: boolean;
  signal: AbortSignal;
  onProgress(migration: Migration): void;
}

/** What was done, or, in a dry run, would be. */
export interface Migration {
  tenantId: TenantId;
  dryRun: boolean;
  moved: { objects: number; bytes: number };
  /** Their copies were there already, from a run that was stopped. */
  alreadyThere: { objects: number; bytes: number };
  /** Folders of tenants: nobody looked into them. */
  tenantFolders: number;
  /** Folders that nobody has asked for: of a tenant that the Tenant Manager does not list, perhaps, or of another program. */
  undecidedFolders: string[];
  /** Keys that no job can name, so that nothing of the product's has written them. */
  foreignKeys: { count: number; keys: string[] };
  problems: { count: number; objects: { key: string; code: string; problem: string }[] };
}

/**
 * Moves the objects of single-tenant mode, which lie in the bucket without a prefix, under the prefix of a tenant. What belongs to a tenant, or
 * might, is not touched, and neither is any folder that the product does not write to, unless it is named. Whatever stops it, the next run continues.
 *
 * @throws MatcherError `STORAGE_UNAVAILABLE`, `FOLDER_IS_A_TENANT`, what the Tenant Manager's client throws, and the signal's reason.
 */
export async function migrateObjects(options: MigrationOptions): Promise<Migration> {
  const { tenantId, dryRun, onProgress } = options;
  const migration: Migration = {
    tenantId,
    dryRun,
    moved: { objects: 0, bytes: 0 },
    alreadyThere: { objects: 0, bytes: 0 },
    tenantFolders: 0,
    undecidedFolders: [],
    foreignKeys: { count: 0, keys: [] },
    problems: { count: 0, objects: [] },
  };
  const failed = new AbortController();
  const signal = AbortSignal.any([options.signal, failed.signal]);
  const objects = bareObjects({ ...options, signal }, migration, await folderRule(options));

  const work = async () => {
    for await (const source of objects) {
      signal.throwIfAborted();
      try {
        const outcome = await moveObject(source, { ...options, signal });
        const counted = outcome === 'moved' ? migration.moved : migration.alreadyThere;
        if (outcome === 'gone') continue;
        counted.objects++;
        counted.bytes += source.size;
        onProgress(migration);
      } catch (error) {
        if (signal.aborted || errorCode(error) === 'STORAGE_UNAVAILABLE') throw error;
        migration.problems.count++;
        const problem = { key: source.key, code: errorCode(error), problem: errorMessage(error) };
        if (migration.problems.count <= maxShown) migration.problems.objects.push(problem);
      }
    }
  };
  const workers = Array.from({ length: concurrency }, () =>
    work().catch((error) => {
      failed.abort(error);
      throw error;
    }),
  );
  // Nothing goes on in the bucket once this returns, or throws.
  await Promise.allSettled(workers);
  await Promise.all(workers);
  return migration;
}

type FolderRule = (name: string) => 'bare' | 'tenant' | 'undecided';

/**
 * Whose the folders at the top of the bucket are. A name that could be a tenant's is not moved, whether or not the tenant still exists: its
 * objects would become another one's.
 */
async function folderRule({ tenants, tenantId, folders }: MigrationOptions): Promise<FolderRule> {
  const active = new Set<string>([tenantId, ...(await tenants.listActive())]);
  const bare = new Set<string>();
  for (const name of [...ownFolders, ...folders]) {
    const id = tryCanonicalTenantId(name);
    const taken = id !== undefined && (active.has(id) || (await tenants.exists(id)));
    if (!taken) bare.add(name);
    else if (folders.includes(name)) {
      throw new MatcherError('FOLDER_IS_A_TENANT', `${name}/ holds the objects of the tenant ${id}`);
    } else active.add(id);
  }
  return (name) => {
    const id = tryCanonicalTenantId(name);
    if (bare.has(name)) return 'bare';
    return id !== undefined && (active.has(id) || /^[0-9a-f]{32}$/.test(id)) ? 'tenant' : 'undecided';
  };
}

/** All objects that are no tenant's, one by one; several may ask for the next one at a time. */
async function* bareObjects(
  options: MigrationOptions,
  migration: Migration,
  rule: FolderRule,
): AsyncGenerator<StoredObject, void, undefined> {
  const { foreignKeys } = migration;
  function* usable(objects: readonly StoredObject[]) {
    for (const object of objects) {
      try {
        checkObjectKey(object.key);
      } catch {
        foreignKeys.count++;
        if (foreignKeys.count <= maxShown) foreignKeys.keys.push(object.key);
        continue;
      }
      yield object;
    }
  }
  for await (const { objects, folders } of pages(options, '', '/')) {
    yield* usable(objects);
    for (const folder of folders) {
      const whose = rule(folder.slice(0, -1));
      if (whose === 'tenant') migration.tenantFolders++;
      else if (whose === 'undecided') migration.undecidedFolders.push(folder);
      else for await (const page of pages(options, folder)) yield* usable(page.objects);
    }
  }
}

async function* pages({ s3, settings, signal }: MigrationOptions, prefix: string, delimiter?: string) {
  let token: string | undefined;
  do {
    const command = new ListObjectsV2Command({
      Bucket: settings.OBJECT_STORAGE_BUCKET,
      Prefix: prefix,
      Delimiter: delimiter,
      ContinuationToken: token,
      // Without it, a control character in one key makes the whole answer unreadable as XML.
      EncodingType: 'url',
    });
    const page = await s3.send(command, { abortSignal: signal }).catch((error) => {
      throw storageFailure(error, signal);
    });
    yield {
      objects: (page.Contents ?? []).map(
        ({ Key = '', Size = 0, ETag = '' }): StoredObject => ({ key: decoded(Key), size: Size, etag: ETag }),
      ),
      folders: (page.CommonPrefixes ?? []).map(({ Prefix = '' }) => decoded(Prefix)),
    };
    token = page.NextContinuationToken;
  } while (token);
}

function decoded(text: string): string {
  return decodeURIComponent(text.replaceAll('+', ' '));
}
