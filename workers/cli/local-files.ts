import { constants } from 'node:fs';
import { access, mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode } from '@matcher/shared/errors.ts';
import { UsageError } from './failures.ts';

/** Why a file can't be used: completes the sentence "FILE …". */
export function whyUnusable(error: unknown): string {
  const reasons: Record<string, string> = {
    ENOENT: 'does not exist',
    ENOTDIR: 'lies in something that is no folder',
    EEXIST: 'is no folder',
    EISDIR: 'is a folder',
    EACCES: 'may not be used by this user',
    EROFS: 'is on a disk that can’t be written',
  };
  const code = errorCode(error);
  return reasons[code] ?? `cannot be used (${code})`;
}

/** Completes the sentence "FILE …", or `undefined` when it is a file that can be read. */
export async function fileProblem(file: string): Promise<string | undefined> {
  try {
    const found = await stat(file);
    if (found.isDirectory()) return 'is a folder';
    if (!found.isFile()) return 'is no regular file';
    await access(file, constants.R_OK);
    return undefined;
  } catch (error) {
    return whyUnusable(error);
  }
}

/**
 * Makes a folder for what will be downloaded. Before anything is published: an hour of work must not end at a folder that
 * can't be written.
 *
 * @throws UsageError `OUTPUT_UNWRITABLE`
 */
export async function makeOutputFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder, { recursive: true });
    await access(folder, constants.W_OK);
  } catch (error) {
    throw new UsageError('OUTPUT_UNWRITABLE', `--output: ${folder} ${whyUnusable(error)}`);
  }
}

/** As {@link makeOutputFolder}, for one file: one that exists will be replaced. */
export async function checkOutputFile(file: string): Promise<void> {
  await makeOutputFolder(dirname(file));
  const found = await stat(file).catch(() => undefined);
  if (found?.isDirectory()) throw new UsageError('OUTPUT_UNWRITABLE', `--output: ${file} is a folder`);
}
