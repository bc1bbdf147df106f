import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { startHttpServer } from './http-server.ts';

export interface StandInAnswer {
  status: number;
  body?: string | object;
  headers?: Record<string, string>;
}

interface Issued {
  clientId: string;
  expiresAt: number;
}

/** A stand-in for the authorization service and the Fetcher, at one address. Tokens are good for the Fetcher until they end or are revoked. */
export interface FetcherStandIn {
  /** Works as FETCHER_URL and as PLUGIN_AUTH_ADDRESS. */
  address: string;
  /** Lets a client in, or gives it a new secret. Its tokens stay good. */
  allow(clientId: string, clientSecret: string): void;
  /** Ends all tokens that were given so far. */
  revokeTokens(): void;
  /** Whether the Fetcher refuses every token, however good. */
  refuseAll: boolean;
  /** Seconds for which tokens are given. */
  expiresIn: number;
  /** The time by which tokens end, in milliseconds. */
  now: () => number;
  /** The next token requests or Fetcher calls are answered with these, in order. */
  readonly nextTokenAnswers: StandInAnswer[];
  readonly nextAnswers: StandInAnswer[];
  /** Keeps every answer, of both services, back until the returned function is called. */
  hold(): () => void;
  /** Client identifiers of all token requests. */
  readonly tokenRequests: string[];
  /** All calls of the Fetcher, `client` being whose token was good. */
  readonly calls: { method: string; path: string; body: unknown; client: string | undefined }[];
  /** Every token that was given. */
  readonly tokens: string[];
  close(): Promise<void>;
}

export async function startFetcher(): Promise<FetcherStandIn> {
  const clients = new Map<string, string>();
  const issued = new Map<string, Issued>();
  let held: Promise<void> | undefined;

  function giveToken(request: { headers: { [name: string]: unknown } }, body: string): StandInAnswer {
    const form = new URLSearchParams(body);
    const clientId = form.get('client_id') ?? '';
    standIn.tokenRequests.push(clientId);
    const next = standIn.nextTokenAnswers.shift();
    if (next) return next;
    const isForm = request.headers['content-type'] === 'application/x-www-form-urlencoded';
    if (!isForm || form.get('grant_type') !== 'client_credentials') {
      return { status: 400, body: { error: 'unsupported_grant_type' } };
    }
    const secret = form.get('client_secret');
    if (secret === null || clients.get(clientId) !== secret) {
      // A careless service, which repeats what it was sent.
      return { status: 401, body: { error: 'invalid_client', error_description: `${clientId}:${secret} is wrong` } };
    }
    const token = `${randomBytes(16).toString('base64url')}.${randomBytes(16).toString('base64url')}`;
    issued.set(token, { clientId, expiresAt: standIn.now() + standIn.expiresIn * 1000 });
    standIn.tokens.push(token);
    return { status: 200, body: { access_token: token, token_type: 'Bearer', expires_in: standIn.expiresIn } };
  }

  function clientOf(authorization: string | undefined): string | undefined {
    const token = issued.get(authorization?.replace(/^Bearer /, '') ?? '');
    return token && token.expiresAt > standIn.now() && !standIn.refuseAll ? token.clientId : undefined;
  }

  const server = await startHttpServer(async (request, body, response) => {
    const { method = '', url = '', headers } = request;
    if (url === '/v1/login/oauth/access_token' && method === 'POST') {
      const answer = giveToken(request, body.toString());
      await held;
      return reply(response, answer);
    }
    const text = body.toString();
    const client = clientOf(headers.authorization);
    standIn.calls.push({ method, path: url, body: text ? JSON.parse(text) : undefined, client });
    await held;
    const next = standIn.nextAnswers.shift();
    if (next) return reply(response, next);
    if (url === '/health') return reply(response, { status: 200, body: { status: 'ok' } });
    if (client === undefined) return reply(response, { status: 401, body: { code: 'FET-0401' } });
    reply(response, route(method, url, client));
  });

  const standIn: FetcherStandIn = {
    address: server.address,
    allow: (clientId, clientSecret) => void clients.set(clientId, clientSecret),
    revokeTokens: () => issued.clear(),
    refuseAll: false,
    expiresIn: 3600,
    now: () => performance.now(),
    nextTokenAnswers: [],
    nextAnswers: [],
    hold() {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return () => {
        held = undefined;
        resolve();
      };
    },
    tokenRequests: [],
    calls: [],
    tokens: [],
    close: server.close,
  };
  return standIn;
}

/** `client` stands in every answer, so that a test sees for whom it was. */
function route(method: string, url: string, client: string): StandInAnswer {
  const { pathname, searchParams } = new URL(url, 'http://host');
  if (method === 'POST' && pathname === '/v1/fetcher') {
    return { status: 202, body: { jobId: 'job 1/2', status: 'pending', client } };
  }
  const [, jobId] = /^\/v1\/fetcher\/([^/]+)$/.exec(pathname) ?? [];
  if (method === 'GET' && jobId) {
    return { status: 200, body: { id: decodeURIComponent(jobId), status: 'completed', resultPath: '/r.json', client } };
  }
  if (method === 'GET' && pathname === '/v1/management/connections') {
    const page = Number(searchParams.get('page'));
    const limit = Number(searchParams.get('limit'));
    const items = page === 1 ? [{ id: 'ledger', configName: 'Ledger', type: 'POSTGRESQL' }] : null;
    return { status: 200, body: { items, page, limit, total: 1, client } };
  }
  const [, connection, what] = /^\/v1\/management\/connections\/([^/]+)\/(schema|test)$/.exec(pathname) ?? [];
  if (method === 'GET' && connection && what === 'schema') {
    const tables = [{ name: 'entries', fields: ['id', 'amount'] }];
    return { status: 200, body: { id: decodeURIComponent(connection), tables, client } };
  }
  if (method === 'POST' && connection && what === 'test') {
    return { status: 200, body: { status: 'success', latencyMs: 3, client } };
  }
  return { status: 404, body: { code: 'FET-0404', message: 'nothing here' } };
}

function reply(response: ServerResponse, { status, body = {}, headers }: StandInAnswer): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(typeof body === 'string' ? body : JSON.stringify(body));
}
