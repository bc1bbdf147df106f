import type { z } from 'zod';
import type { Settings } from '../config/variables.ts';
import { MatcherError } from '../errors.ts';
import { ExchangeError, exchange } from '../http-exchange.ts';
import type { Logger } from '../observability/log.ts';
import type { TenantId } from '../tenancy/tenant-id.ts';
import {
  connectionsAnswer,
  connectionTestAnswer,
  type FetcherConnections,
  type FetcherConnectionTest,
  type FetcherJob,
  type FetcherSchema,
  fetcherRefusal,
  fetcherUnavailable,
  fetcherUnreadable,
  jobAnswer,
  readFetcherAnswer,
  type StartedFetcherJob,
  schemaAnswer,
  startedJobAnswer,
} from './fetcher-answers.ts';
import type { BearerToken, M2MTokenSource } from './m2m-token.ts';

const callTimeoutMs = 30_000;
const maxAnswerBytes = 10 * 1024 * 1024;

/**
 * The Fetcher service, which reads customers' databases. Every call may throw MatcherError `FETCHER_UNAUTHORIZED`,
 * `FETCHER_FORBIDDEN`, `FETCHER_NOT_FOUND`, `FETCHER_CONFLICT`, `FETCHER_REJECTED`, `FETCHER_UNEXPECTED`, `FETCHER_THROTTLED`,
 * `FETCHER_UNAVAILABLE` or `FETCHER_UNREADABLE`, each with its remedy, what {@link M2MTokenSource.get} throws, and the signal's reason.
 */
export interface FetcherClient {
  /** Resolves when the service is up. Asked without a token, of FETCHER_URL. */
  health(signal?: AbortSignal): Promise<void>;
  /** Starts an extraction; `request` is the Fetcher's own job description. */
  startJob(tenantId: TenantId, request: object, signal?: AbortSignal): Promise<StartedFetcherJob>;
  job(tenantId: TenantId, jobId: string, signal?: AbortSignal): Promise<FetcherJob>;
  /** @param page counts from 1. */
  connections(
    tenantId: TenantId,
    page: { page: number; limit: number },
    signal?: AbortSignal,
  ): Promise<FetcherConnections>;
  connectionSchema(tenantId: TenantId, connectionId: string, signal?: AbortSignal): Promise<FetcherSchema>;
  /** Has the Fetcher connect, and says how that went. */
  testConnection(tenantId: TenantId, connectionId: string, signal?: AbortSignal): Promise<FetcherConnectionTest>;
}

export interface FetcherParts {
  settings: Settings;
  /** Absent in single-tenant mode, where the Fetcher is called without a token. */
  tokens: M2MTokenSource | undefined;
  log: Logger;
  timeoutMs?: number;
}

interface Call {
  method: 'GET' | 'POST';
  path: string;
  body?: object;
  signal: AbortSignal | undefined;
}

export function createFetcherClient({ settings, tokens, log, timeoutMs = callTimeoutMs }: FetcherParts): FetcherClient {
  const { FETCHER_URL: fetcherUrl } = settings;
  if (fetcherUrl === undefined) throw new MatcherError('INVALID_CONFIG', 'FETCHER_URL is required');

  async function send({ method, path, body, signal }: Call, bearer: BearerToken | undefined) {
    const base = bearer?.credentials.targetBaseUrl ?? fetcherUrl;
    return exchange(base + path, {
      method,
      headers: {
        ...(bearer ? { authorization: `Bearer ${bearer.token}` } : {}),
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      body: body && JSON.stringify(body),
      timeoutMs,
      maxBytes: maxAnswerBytes,
      signal,
    }).catch((error) => {
      if (!(error instanceof ExchangeError)) throw error;
      throw error.tooLong ? fetcherUnreadable(error.message) : fetcherUnavailable(error.message);
    });
  }

  /** A 401 says that nothing was done, so that the call, a POST too, can be made once more with a fresh token. */
  async function sendAs(tenantId: TenantId, call: Call) {
    const bearer = await tokens?.get(tenantId, call.signal);
    const answer = await send(call, bearer);
    if (answer.status !== 401 || !bearer || !tokens) return answer;
    log.warn({ tenantId }, 'the Fetcher refuses the token; trying once more with fresh credentials');
    return send(call, await tokens.renew(tenantId, bearer, call.signal));
  }

  async function ask<S extends z.ZodType>(tenantId: TenantId, schema: S, call: Call): Promise<z.output<S>> {
    const { status, text } = await sendAs(tenantId, call);
    if (status < 200 || status > 299) throw fetcherRefusal(status, text);
    return readFetcherAnswer(schema, text);
  }

  const connection = (id: string) => `/v1/management/connections/${pathSegment(id)}`;
  return {
    async health(signal) {
      const { status, text } = await send({ method: 'GET', path: '/health', signal }, undefined);
      if (status !== 200) throw fetcherRefusal(status, text);
    },
    async startJob(tenantId, body, signal) {
      return ask(tenantId, startedJobAnswer, { method: 'POST', path: '/v1/fetcher', body, signal });
    },
    async job(tenantId, jobId, signal) {
      return ask(tenantId, jobAnswer, { method: 'GET', path: `/v1/fetcher/${pathSegment(jobId)}`, signal });
    },
    async connections(tenantId, { page, limit }, signal) {
      const path = `/v1/management/connections?page=${page}&limit=${limit}`;
      return ask(tenantId, connectionsAnswer, { method: 'GET', path, signal });
    },
    async connectionSchema(tenantId, connectionId, signal) {
      return ask(tenantId, schemaAnswer, { method: 'GET', path: `${connection(connectionId)}/schema`, signal });
    },
    async testConnection(tenantId, connectionId, signal) {
      // A POST, as existing Fetchers serve it: it connects to the customer's database.
      return ask(tenantId, connectionTestAnswer, { method: 'POST', path: `${connection(connectionId)}/test`, signal });
    },
  };
}

/** Percent-encoding leaves dots alone, and a URL's parser takes them for a way up. */
function pathSegment(id: string): string {
  if (id === '' || id === '.' || id === '..') {
    throw new MatcherError('FETCHER_ID_INVALID', `${JSON.stringify(id)} is no identifier of the Fetcher’s`);
  }
  return encodeURIComponent(id);
}
