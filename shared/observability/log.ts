import { type DestinationStream, type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/**
 * Property names whose values never reach a log line, wherever they stand one or two levels deep. Code does not log
 * configurations or message bodies in the first place; this is the net below.
 */
const secrets = [
  'password',
  'passwordHash',
  'secret',
  'clientSecret',
  'secretAccessKey',
  'token',
  'authorization',
  'url',
];

/** JSON lines on standard output, with the process's name and deployment on each. */
export function createLog(
  settings: { ENV_NAME: string; LOG_LEVEL: string },
  name: string,
  destination?: DestinationStream,
): Logger {
  const options = {
    name,
    level: settings.LOG_LEVEL,
    base: { pid: process.pid, env: settings.ENV_NAME },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]), censor: '[redacted]' },
    serializers: { err: describeError },
  };
  return destination ? pino(options, destination) : pino(options);
}

/**
 * An error as a log shows it: class, code, message, where it happened and what caused it; not its other properties, since drivers
 * hang connection parameters and offending values on theirs (PostgreSQL's `detail` quotes the row).
 */
function describeError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const { code, cause } = error as Error & { code?: unknown };
  return {
    type: error.name,
    ...(code === undefined ? {} : { code: String(code) }),
    message: error.message,
    stack: error.stack
      ?.split('\n')
      .slice(1, 8)
      .map((line) => line.trim())
      .join(' < '),
    ...(cause === undefined ? {} : { cause: describeError(cause) }),
  };
}
