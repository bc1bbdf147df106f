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
  /^(08...|28...|3D000|53300|57P0[1-3]|ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EAI_AGAIN|DATABASE_CONNECTION_LOST|DATABASE_TIMEOUT)$/;

/** A table or row that somebody else holds for longer than PostgreSQL was told to wait. */
const lockNotAvailable = '55P03';

/** What to do about any error at all; the one place where foreign errors are classed. */
export function remedyFor(error: unknown): Remedy {
  if (error instanceof MatcherError) return error.remedy;
  const code = errorCode(error);
  if (away.test(code) && !isStatementsError(error)) return 'not-now';
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

/** AMQP 0-9-1, "Constants": what a broker that closes a channel or a connection replies. */
const brokerReplies = new Map([
  [311, 'BROKER_CONTENT_TOO_LARGE'],
  [312, 'BROKER_NO_ROUTE'],
  [313, 'BROKER_NO_CONSUMERS'],
  [320, 'BROKER_CONNECTION_FORCED'],
  [402, 'BROKER_INVALID_PATH'],
  [403, 'BROKER_ACCESS_REFUSED'],
  [404, 'BROKER_NOT_FOUND'],
  [405, 'BROKER_RESOURCE_LOCKED'],
  [406, 'BROKER_PRECONDITION_FAILED'],
  [501, 'BROKER_FRAME_ERROR'],
  [502, 'BROKER_SYNTAX_ERROR'],
  [503, 'BROKER_COMMAND_INVALID'],
  [504, 'BROKER_CHANNEL_ERROR'],
  [505, 'BROKER_UNEXPECTED_FRAME'],
  [506, 'BROKER_RESOURCE_ERROR'],
  [530, 'BROKER_NOT_ALLOWED'],
  [540, 'BROKER_NOT_IMPLEMENTED'],
  [541, 'BROKER_INTERNAL_ERROR'],
]);

/** What the drivers of PostgreSQL, Redis and RabbitMQ say in words only, without a code or a name of its own. */
const saidInWords: readonly (readonly [RegExp, string])[] = [
  [/^(Connection terminated|Client .+ is not queryable)/, 'DATABASE_CONNECTION_LOST'],
  [/^(Query read timeout|timeout (expired|exceeded when trying to connect))$/, 'DATABASE_TIMEOUT'],
  [/^(Cannot use a pool after calling end|Called end on pool)/, 'DATABASE_POOL_CLOSED'],
  [/^(The server does not support SSL|There was an error establishing an SSL)/, 'DATABASE_TLS_FAILED'],
  [/^(Connection is closed\.|Command timed out|Stream isn't writeable|Socket timeout\.)/, 'REDIS_UNAVAILABLE'],
  [
    /^(Heartbeat timeout|Unexpected close|Socket closed abruptly|channel closed|Channel ended)/,
    'BROKER_CONNECTION_LOST',
  ],
  [/^connect ETIMEDOUT$/, 'ETIMEDOUT'],
];

/** Names that drivers give to what has a code here. The AWS SDK's names are codes already. */
const named: Readonly<Record<string, string>> = {
  IllegalOperationError: 'BROKER_CONNECTION_LOST',
  MaxRetriesPerRequestError: 'REDIS_UNAVAILABLE',
  ZodError: 'DATA_INVALID',
};

/** The stable code of any error: ours, the driver's or the system's, else `INTERNAL`. The one place where foreign errors get a code. */
export function errorCode(error: unknown): string {
  if (typeof error !== 'object' || error === null) return 'INTERNAL';
  const { code, name, cause } = error as { code?: unknown; name?: unknown; cause?: unknown };
  if (typeof code === 'string' && code !== '') return code;
  const { message } = error as { message?: unknown };
  if (typeof code === 'number' && 'classId' in error) return brokerReplies.get(code) ?? `BROKER_${code}`;
  // The server's own word for it is the first of its answer.
  if (name === 'ReplyError') return `REDIS_${/^[A-Z]+/.exec(String(message))?.[0] ?? 'ERR'}`;
  // What fetch reports of a network is in the cause.
  if (error instanceof TypeError && cause !== undefined && errorCode(cause) !== 'INTERNAL') return errorCode(cause);
  // Without a body, S3 says no more than its status.
  const { httpStatusCode } = (error as { $metadata?: { httpStatusCode?: number } }).$metadata ?? {};
  if (httpStatusCode !== undefined && /^(\d+|Error|Unknown|UnknownError)$/.test(String(name)))
    return `STORAGE_${httpStatusCode}`;
  if (typeof name === 'string' && name !== '' && name !== 'Error') return named[name] ?? name;
  return saidInWords.find(([words]) => words.test(String(message)))?.[1] ?? 'INTERNAL';
}

export function errorMessage(error: unknown): string {
  return error instanceof Error ? error.message || errorCode(error) : String(error);
}
