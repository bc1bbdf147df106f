/**
 * What may be done about a failure. One vocabulary for the whole product: the job consumer maps it to a delivery's
 * fate, the command line to an exit status.
 *
 * - `transient`: the same job may succeed later; it is retried after a growing delay, and an attempt is charged.
 * - `permanent`: it will fail the same way every time; the job goes to the dead letters.
 * - `not-now`: nothing is wrong with the job (its context is busy, its database is away); it waits, and no attempt is charged.
 */
export type Remedy = 'transient' | 'permanent' | 'not-now';

export interface ErrorDetails {
  /** What the reader can do about it: one sentence, shown after the message. */
  hint?: string;
  remedy?: Remedy;
  cause?: unknown;
}

/** An error with a stable `code`. Messages never hold secrets, connection strings or the body of a message. */
export class MatcherError extends Error {
  readonly code: string;
  readonly remedy: Remedy;
  readonly hint: string | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.remedy = details.remedy ?? 'permanent';
    this.hint = details.hint;
  }
}

/** SQLSTATE classes in which PostgreSQL says that the statement or the data is at fault, not the moment. */
const permanentSqlClasses = new Set(['22', '23', '42']);

/**
 * A server that is away, went away or lets nobody in for now: PostgreSQL's classes 08 and 57P, credentials that it refuses since they were rotated (28),
 * a database that has moved (3D000), all connections taken (53300), and the system's words for it.
 */
const away =
  /^(08...|28...|3D000|53300|57P0[1-3]|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN)$/;
/** The PostgreSQL driver's own words have no code. */
const awayMessage =
  /^(Connection terminated|Client .+ is not queryable|Query read timeout|timeout (expired|exceeded when trying to connect))/;

/** A table or row that somebody else holds for longer than PostgreSQL was told to wait. */
const lockNotAvailable = '55P03';

/** What to do about any error at all; the one place where foreign errors are classed. */
export function remedyFor(error: unknown): Remedy {
  if (error instanceof MatcherError) return error.remedy;
  const code = errorCode(error);
  if (away.test(code) && !isStatementsError(error)) return 'not-now';
  if (code === 'INTERNAL' && awayMessage.test(errorMessage(error))) return 'not-now';
  if (code === lockNotAvailable && !isRaised(error)) return 'not-now';
  if (/^[0-9A-Z]{5}$/.test(code) && permanentSqlClasses.has(code.slice(0, 2))) return 'permanent';
  // A bug, except that fetch reports a network's failure as a TypeError with a cause.
  const bug = error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
  if (bug && error.cause === undefined) return 'permanent';
  return 'transient';
}

/**
 * Whether PostgreSQL reports the failure of a statement, and not that of the session: a trigger can raise any SQLSTATE, but a server that is away, or lets
 * nobody in, says FATAL or PANIC. It says so in its own language, so that what is known of an error is the word for the other case.
 */
export function isStatementsError(error: unknown): boolean {
  return (error as { severity?: unknown }).severity === 'ERROR' || isRaised(error);
}

/** PL/pgSQL's RAISE, whatever it claims to be: the function of the server that reported an error is the same in every language. */
function isRaised(error: unknown): boolean {
  return (error as { routine?: unknown }).routine === 'exec_stmt_raise';
}

/** The stable code of any error: ours, the driver's or the system's, else `INTERNAL`. */
export function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return 'INTERNAL';
  const { code, name } = error as { code?: unknown; name?: unknown };
  if (typeof code === 'string' && code !== '') return code;
  // The AWS SDK names its errors instead of coding them.
  if (typeof name === 'string' && name !== '' && name !== 'Error') return name;
  return 'INTERNAL';
}

export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message || errorCode(error) : String(error);
}
