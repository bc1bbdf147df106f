import { z } from 'zod';
import { MatcherError, type Remedy } from '../errors.ts';
import { parseAnswer } from '../http-exchange.ts';

/** What the Fetcher answers: what is relied on is checked, everything else is handed on as it came. An empty list may come as null. */
const list = <T extends z.ZodType>(item: T) =>
  z
    .array(item)
    .nullish()
    .transform((items) => items ?? []);

export const startedJobAnswer = z.looseObject({ jobId: z.string().min(1), status: z.string().nullish() });
export const jobAnswer = z.looseObject({ id: z.string().min(1), status: z.string().min(1) });
export const connectionsAnswer = z.looseObject({
  items: list(z.looseObject({ id: z.string().min(1) })),
  page: z.number().nullish(),
  limit: z.number().nullish(),
  total: z.number().nullish(),
});
export const schemaAnswer = z.looseObject({
  id: z.string().min(1),
  tables: list(z.looseObject({ name: z.string(), fields: list(z.string()) })),
});
export const connectionTestAnswer = z.looseObject({ status: z.string().min(1) });

/** A job that the Fetcher accepted. */
export type StartedFetcherJob = z.output<typeof startedJobAnswer>;
/** `status` in the Fetcher's own words. */
export type FetcherJob = z.output<typeof jobAnswer>;
export type FetcherConnections = z.output<typeof connectionsAnswer>;
export type FetcherSchema = z.output<typeof schemaAnswer>;
export type FetcherConnectionTest = z.output<typeof connectionTestAnswer>;

/** By status: the error's code, what it says, and what may be done. */
const refusals: Record<number, [code: string, text: string, remedy: Remedy]> = {
  400: ['FETCHER_REJECTED', 'does not accept the request', 'permanent'],
  401: ['FETCHER_UNAUTHORIZED', 'does not accept the tenant’s token', 'transient'],
  403: ['FETCHER_FORBIDDEN', 'does not allow this to the tenant’s client', 'permanent'],
  404: ['FETCHER_NOT_FOUND', 'has no such job or connection', 'permanent'],
  408: ['FETCHER_UNAVAILABLE', 'gave up waiting for the request', 'transient'],
  409: ['FETCHER_CONFLICT', 'is in a state that contradicts the request', 'permanent'],
  422: ['FETCHER_REJECTED', 'does not accept the request', 'permanent'],
  429: ['FETCHER_THROTTLED', 'is asked too often', 'transient'],
};

const refusalAnswer = z.object({ code: z.string().regex(/^[\w.-]{1,40}$/) });

/** The error for an answer that is no 2xx. Of the answer's body only its `code` is shown. */
export function fetcherRefusal(status: number, text: string): MatcherError {
  const { code: said } = refusalAnswer.safeParse(parseAnswer(text)).data ?? {};
  const answered = said ? `${status}, ${said}` : String(status);
  if (status >= 500) return fetcherUnavailable(`answered ${answered}`);
  const [code, what, remedy] = refusals[status] ?? [
    'FETCHER_UNEXPECTED',
    'answered what was not expected',
    'permanent',
  ];
  return new MatcherError(code, `The Fetcher ${what} (${answered})`, { remedy });
}

export function fetcherUnavailable(what: string): MatcherError {
  return new MatcherError('FETCHER_UNAVAILABLE', `The Fetcher ${what}`, { remedy: 'transient' });
}

export function fetcherUnreadable(what: string): MatcherError {
  return new MatcherError('FETCHER_UNREADABLE', `The Fetcher ${what}`, { remedy: 'transient' });
}

/** @throws MatcherError `FETCHER_UNREADABLE`, which names the fields and not what stood in them. */
export function readFetcherAnswer<S extends z.ZodType>(schema: S, text: string): z.output<S> {
  const parsed = schema.safeParse(parseAnswer(text));
  if (parsed.success) return parsed.data;
  const fields = parsed.error.issues.map(({ path }) => path.join('.')).filter((field) => field !== '');
  throw fetcherUnreadable(`sent an answer without a valid ${fields.join(', ') || 'JSON object'}`);
}
