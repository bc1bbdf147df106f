import { ExponentialBackoff, handleWhen, retry } from 'cockatiel';
import { errorCode, errorMessage, isStatementsError } from '../errors.ts';

/** The connection was cut, its password has been rotated, or its database has moved. */
const broken = /^(28...|3D000|57P0[12]|ECONNRESET|EPIPE)$/;
/** The same, in the driver's own words. */
const brokenMessage = /^(Connection terminated|Client .+ is not queryable)/;

/**
 * Runs again what failed because of its connection and may be run twice, for less than a second. A pool finds out by such a failure that a
 * connection which nobody used was cut, which may be true of several, and by one more that its password has been rotated. A server that is
 * away is not waited for.
 */
export const overBroken = retry(
  handleWhen(
    (error) => (broken.test(errorCode(error)) && !isStatementsError(error)) || brokenMessage.test(errorMessage(error)),
  ),
  { maxAttempts: 4, backoff: new ExponentialBackoff({ initialDelay: 30, maxDelay: 300 }) },
);
