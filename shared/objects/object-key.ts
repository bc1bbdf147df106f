import { MatcherError } from '../errors.ts';

/** S3 takes keys of 1,024 bytes; the rest is left to the tenant's prefix. */
const maxBytes = 700;

/**
 * A key as handlers and messages write it: relative, without anything that could lead out of the tenant's prefix.
 *
 * @throws MatcherError `OBJECT_KEY_INVALID`
 */
export function checkObjectKey(key: string): string {
  const wrong =
    key === ''
      ? 'is empty'
      : key.startsWith('/')
        ? 'starts with "/"'
        : Buffer.byteLength(key) > maxBytes
          ? `is longer than ${maxBytes} bytes`
          : // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
            /[\\\u0000-\u001f\u007f]/.test(key)
            ? 'has a backslash or a control character'
            : !key.isWellFormed()
              ? 'is no valid Unicode text'
              : key.split('/').some((part) => part === '' || part === '.' || part === '..')
                ? 'has an empty, "." or ".." part'
                : undefined;
  if (wrong === undefined) return key;
  throw new MatcherError('OBJECT_KEY_INVALID', `The object key ${wrong}`, {
    hint: 'Keys are relative to the tenant, such as "uploads/2026-01/bank.csv".',
  });
}
