import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { MatcherError } from '../errors.ts';

/** What the driver connects with; its own types don't tell. */
export interface DriverConnection extends EventEmitter {
  readonly stream: Duplex;
  /** Reads the server's messages from the stream. */
  attachListeners(stream: Duplex): void;
}

/** Characters of one of an error's texts that are kept. */
const longestText = 2000;

/**
 * Keeps to a connection what its server can do to the process: a message that can't be read, which the driver throws out of the stream's event, ends the
 * connection and fails its queries; texts of errors, which a trigger can make as long as it likes, are cut before anybody keeps them.
 */
export function guardConnection(connection: DriverConnection): void {
  const attach = connection.attachListeners.bind(connection);
  connection.attachListeners = (stream) => attach(guarded(stream));
  connection.on('errorMessage', shorten);
}

/** As much of a stream as the driver reads its messages with. */
function guarded(stream: Duplex): Duplex {
  const on = (event: string, listener: (chunk?: Buffer) => void) =>
    stream.on(
      event,
      event !== 'data'
        ? listener
        : (chunk) => {
            try {
              listener(chunk);
            } catch (cause) {
              stream.destroy(unreadable(cause));
            }
          },
    );
  return { on } as unknown as Duplex;
}

function unreadable(cause: unknown): MatcherError {
  return new MatcherError('DATABASE_ANSWER_UNREADABLE', 'The database server’s answer cannot be read', {
    hint: 'Something between this process and PostgreSQL changes what they say, or the answer is larger than a process can hold.',
    // An answer that will never be readable must not be waited for without end.
    remedy: 'transient',
    cause,
  });
}

function shorten(error: Error): void {
  let cut = false;
  for (const [field, text] of Object.entries({ ...error, message: error.message })) {
    if (typeof text !== 'string' || text.length <= longestText) continue;
    // A copy: a part of a string keeps the whole of it in memory.
    const part = Buffer.from(text.slice(0, longestText)).toString();
    Object.assign(error, { [field]: `${part}…` });
    cut = true;
  }
  // The stack begins with the message as it was.
  if (cut) Error.captureStackTrace(error);
}
