import { randomBytes } from 'node:crypto';

/** One operation as W3C Trace Context names it, so that what both sides of a request log of it can be joined. */
export interface TraceContext {
  /** 32 hexadecimal digits: what a log line carries. */
  readonly traceId: string;
  /** The header's value. */
  readonly traceparent: string;
}

/**
 * A trace that begins here. It is marked as not sampled: no span is recorded on this side, and a caller that sets the flag would decide for
 * the other side to record every request.
 */
export function newTraceContext(): TraceContext {
  const traceId = randomBytes(16).toString('hex');
  return { traceId, traceparent: `00-${traceId}-${randomBytes(8).toString('hex')}-00` };
}
