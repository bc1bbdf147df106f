import { readFileSync } from 'node:fs';
import { errorCode, MatcherError } from '../errors.ts';

/**
 * The PEM text of a certificate or key that a Tenant Manager names.
 *
 * @param field what names it, for the error's text: what it holds is never repeated.
 * @param pathOrPem a file's path, or the PEM text itself.
 * @throws MatcherError `CERTIFICATE_UNREADABLE`, not-now.
 */
export function pemOf(field: string, pathOrPem: string): string {
  if (isPem(pathOrPem)) return pathOrPem;
  let text: string;
  try {
    text = readFileSync(pathOrPem, 'utf8');
  } catch (error) {
    // The cause's message would repeat the path, and what stands there by mistake may be a key without its first line.
    throw unreadable(field, `the file cannot be read (${errorCode(error)})`);
  }
  if (!isPem(text)) throw unreadable(field, 'there is no PEM text in the file');
  return text;
}

function isPem(text: string): boolean {
  return text.includes('-----BEGIN ');
}

function unreadable(field: string, what: string): MatcherError {
  return new MatcherError('CERTIFICATE_UNREADABLE', `${field}: ${what}`, {
    hint: `${field} takes the path of a file that this process can read, or the PEM text itself.`,
    remedy: 'not-now',
  });
}
