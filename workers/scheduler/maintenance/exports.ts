import type { Leftovers } from '@matcher/shared/objects/leftovers.ts';
import type { TenantObjects } from '@matcher/shared/objects/tenant-objects.ts';
import type { TenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';

/** Rows and keys that are looked at together. */
const batch = 200;

/** Keys as the export worker makes them: `exports/{context}/{job}/{attempt}/{file}`. Whatever else is in there is not ours to remove. */
const exportKey = /^exports\/[a-z0-9][a-z0-9_-]*\/[A-Za-z0-9][A-Za-z0-9._:-]*\/[0-9a-f]{8}\/[^/]+\.csv$/;

/** Removes exports whose time is over: the object first, so that a row is left to tell of one that could not be removed. Returns how many. */
export async function removeExpiredExports(
  db: TenantDatabase,
  objects: TenantObjects,
  signal: AbortSignal,
): Promise<number> {
  let removed = 0;
  for (;;) {
    signal.throwIfAborted();
    const expired = await db.query<{ job_id: string; object_key: string }>(
      'SELECT job_id, object_key FROM exports WHERE expires_at < now() ORDER BY expires_at LIMIT $1',
      [batch],
    );
    for (const { object_key } of expired) await objects.delete(object_key, { signal });
    await db.query('DELETE FROM exports WHERE job_id = ANY($1)', [expired.map(({ job_id }) => job_id)]);
    removed += expired.length;
    if (expired.length < batch) return removed;
  }
}

/**
 * Removes the objects of exports that came to nothing: no row tells of them. Returns how many.
 *
 * @param before objects that are younger may be those of a running attempt.
 */
export async function removeOrphans(
  db: TenantDatabase,
  objects: TenantObjects,
  leftovers: Leftovers,
  before: Date,
  signal: AbortSignal,
): Promise<number> {
  let removed = 0;
  let keys: string[] = [];
  const removeUnknown = async () => {
    const known = await db.query<{ object_key: string }>('SELECT object_key FROM exports WHERE object_key = ANY($1)', [
      keys,
    ]);
    const kept = new Set(known.map(({ object_key }) => object_key));
    for (const key of keys) {
      if (kept.has(key)) continue;
      await objects.delete(key, { signal });
      removed++;
    }
    keys = [];
  };
  for await (const { key, modifiedAt } of leftovers.objects('exports/', { signal })) {
    if (modifiedAt >= before || !exportKey.test(key)) continue;
    keys.push(key);
    if (keys.length === batch) await removeUnknown();
  }
  if (keys.length > 0) await removeUnknown();
  return removed;
}

/** Aborts multipart uploads that nobody will finish: their parts cost money and are seen nowhere. Returns how many. */
export async function abortUnfinishedUploads(leftovers: Leftovers, before: Date, signal: AbortSignal): Promise<number> {
  // Aborting while listing would shift the pages.
  const old: Parameters<Leftovers['abort']>[0][] = [];
  for await (const upload of leftovers.uploads({ signal })) if (upload.startedAt < before) old.push(upload);
  for (const upload of old) await leftovers.abort(upload, { signal });
  return old.length;
}
