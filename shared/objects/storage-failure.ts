import { errorCode, MatcherError } from '../errors.ts';

/** What the system, Node and S3 say when the storage is away, or silent for too long. */
const unavailable = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ECONNABORTED',
  'EPIPE',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ERR_STREAM_PREMATURE_CLOSE',
  'TimeoutError',
  'RequestTimeout',
  'SlowDown',
]);

/**
 * What to throw for an error that the object storage caused. A storage that is away says nothing about the job that needs it: it is
 * `STORAGE_UNAVAILABLE`, not-now. One that refuses (a bucket that is not there, credentials that don't fit) keeps its own name.
 *
 * @param signal when it is aborted, its reason is what counts: the failure is how the request ended.
 */
export function storageFailure(error: unknown, signal?: AbortSignal): unknown {
  if (signal?.aborted) return signal.reason;
  if (error instanceof MatcherError || !isUnavailable(error)) return error;
  return new MatcherError('STORAGE_UNAVAILABLE', `The object storage does not answer (${errorCode(error)})`, {
    hint: 'Check that it runs, and OBJECT_STORAGE_ENDPOINT.',
    remedy: 'not-now',
    cause: error,
  });
}

function isUnavailable(error: unknown): boolean {
  if (typeof error !== 'object' || error === null) return false;
  const { name, $metadata, $response } = error as {
    name?: unknown;
    $metadata?: { httpStatusCode?: number };
    $response?: { statusCode?: number };
  };
  const status = $metadata?.httpStatusCode ?? $response?.statusCode ?? 0;
  return status >= 500 || status === 429 || unavailable.has(errorCode(error)) || unavailable.has(String(name));
}
