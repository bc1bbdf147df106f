import { type DestinationStream, type Logger, pino } from 'pino';
import { variables } from '../config/variables.ts';

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
  'apiKey',
  'x-api-key',
  'token',
  'access_token',
  'authorization',
  'url',
  ...Object.entries(variables).flatMap(([name, { secret }]) => (secret ? [name] : [])),
];

/** Causes of causes that a line shows; there are errors whose causes go round in a circle. */
const maxCauses = 4;

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
    redact: { paths: secrets.flatMap((key) => [`["${key}"]`, `*["${key}"]`, `*.*["${key}"]`]), censor: '[redacted]' },
    serializers: { err: (error: unknown) => describeError(error) },
  };
  return pino(options, destination ?? standardOutput());
}

/**
 * Whoever read our lines may be gone before us: then they go nowhere. (Pino's own destination tries for ever to write the last line to a broken
 * pipe, and the process never ends.)
 */
function standardOutput(): DestinationStream {
  if (process.stdout.listenerCount('error', ignore) === 0) process.stdout.on('error', ignore);
  return process.stdout;
}

function ignore(): void {}

/**
 * An error as a log shows it: class, code, message, where it happened and what caused it; not its other properties, since drivers
 * hang connection parameters and offending values on theirs (PostgreSQL's `detail` quotes the row).
 */
function describeError(error: unknown, depth = 0): unknown {
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
    ...(cause === undefined || depth === maxCauses ? {} : { cause: describeError(cause, depth + 1) }),
  };
}
