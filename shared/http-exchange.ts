import { errorMessage } from './errors.ts';

export interface ExchangeRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  headers: Record<string, string>;
  body?: string | undefined;
  timeoutMs: number;
  /** Longest answer that is read. */
  maxBytes: number;
  signal?: AbortSignal | undefined;
}

/** No answer, or none that was read to its end; the message completes the sentence "The service …". */
export class ExchangeError extends Error {
  override readonly name = 'ExchangeError';
  /** Whether there was an answer, and it was too long. */
  readonly tooLong: boolean;

  constructor(message: string, tooLong = false) {
    super(message);
    this.tooLong = tooLong;
  }
}

/**
 * One request and its whole answer, of whatever status; redirects are answers and not followed, since they would carry the
 * credentials elsewhere.
 *
 * @throws ExchangeError; the signal's reason when that ended it.
 */
export async function exchange(url: string, request: ExchangeRequest): Promise<{ status: number; text: string }> {
  const { method, headers, body, timeoutMs, maxBytes, signal } = request;
  const timeout = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(url, {
      method,
      headers: { accept: 'application/json', ...headers },
      redirect: 'manual',
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      ...(body === undefined ? {} : { body }),
    });
    return { status: response.status, text: await readBounded(response, maxBytes) };
  } catch (error) {
    signal?.throwIfAborted();
    if (error instanceof ExchangeError) throw error;
    if (timeout.aborted) throw new ExchangeError(`did not answer within ${timeoutMs} ms`);
    throw new ExchangeError(`cannot be reached (${errorMessage((error as Error).cause ?? error)})`);
  }
}

async function readBounded(response: Response, maxBytes: number): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body ?? []) {
    size += chunk.byteLength;
    if (size > maxBytes) throw new ExchangeError(`sent an answer longer than ${maxBytes} bytes`, true);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

/** `undefined` for what is no JSON. */
export function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
