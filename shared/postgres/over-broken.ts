import { ConstantBackoff, handleWhen, retry } from 'cockatiel';
import { errorCode, errorMessage } from '../errors.ts';

/** The connection was cut, or its password has been rotated. */
const broken = /^(28...|57P0[12]|ECONNRESET|EPIPE)$/;

/**
 * Runs again, at once, what failed because of its connection and may be run twice. A pool finds out by such a failure that a connection which
 * nobody used was cut, and by one more that its password has been rotated; from then on it is well. A server that is away is not waited for.
 */
export const overBroken = retry(
  handleWhen((error) => broken.test(errorCode(error)) || errorMessage(error).startsWith('Connection terminated')),
  { maxAttempts: 2, backoff: new ConstantBackoff(50) },
);
