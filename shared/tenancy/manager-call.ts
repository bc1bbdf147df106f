import type { z } from 'zod';
import { MatcherError } from '../errors.ts';
import { ExchangeError, exchange, parseAnswer } from '../http-exchange.ts';
import type { TraceContext } from '../observability/trace-context.ts';
import { type RefusableCall, refusalOf } from './manager-refusals.ts';

const maxAnswerBytes = 10 * 1024 * 1024;

/** Of an answer that can't be read, how many of its mistakes are named. */
const maxMistakes = 5;

/** Where a Tenant Manager is, and how it is called. */
export interface ManagerTarget {
  base: string;
  apiKey: string;
  timeoutMs: number;
}

/** One request to the Tenant Manager. */
export interface ManagerCall<S extends z.ZodType = z.ZodType> extends RefusableCall {
  /** Names it in metrics and logs. */
  name: string;
  /** What a success has to look like. */
  answer: S;
  body?: object;
  signal?: AbortSignal | undefined;
}

/** What the Tenant Manager said; no is an answer, too. */
export type ManagerAnswer<T> = { value: T } | { refusal: MatcherError };

/** @throws MatcherError `TENANT_MANAGER_UNAVAILABLE`: it gave no answer, or none that can be read. The signal's reason. */
export async function performCall<S extends z.ZodType>(
  { base, apiKey, timeoutMs }: ManagerTarget,
  call: ManagerCall<S>,
  { traceparent }: TraceContext,
): Promise<ManagerAnswer<z.output<S>>> {
  const { method, path, body, signal } = call;
  const { status, text } = await exchange(base + path, {
    method,
    headers: { 'x-api-key': apiKey, traceparent, ...(body ? { 'content-type': 'application/json' } : {}) },
    body: body && JSON.stringify(body),
    timeoutMs,
    maxBytes: maxAnswerBytes,
    signal,
  }).catch((error) => {
    throw error instanceof ExchangeError ? unavailable(error.message) : error;
  });
  if (status >= 500) throw unavailable(`answered ${status}`);
  const json = text === '' ? {} : parseAnswer(text);
  // Whatever else comes of it, what the answer says is shown and must not show the key.
  if (status > 299) return { refusal: refusalOf(call, status, json, (said) => said.replaceAll(apiKey, '[redacted]')) };
  if (json === undefined) throw unavailable('sent an answer that is no JSON');
  const parsed = call.answer.safeParse(json);
  if (!parsed.success) throw unavailable(`sent an answer without a valid ${mistakes(parsed.error)}`);
  return { value: parsed.data };
}

/** Only the places: the answer holds passwords. */
function mistakes({ issues }: z.ZodError): string {
  const places = issues.slice(0, maxMistakes).map(({ path }) => path.join('.'));
  return places.filter((place) => place !== '').join(', ') || 'shape';
}

/** A failure of the Tenant Manager itself: the only kind that says nothing about the tenant. */
function unavailable(what: string): MatcherError {
  return new MatcherError('TENANT_MANAGER_UNAVAILABLE', `The Tenant Manager ${what}`, { remedy: 'not-now' });
}
