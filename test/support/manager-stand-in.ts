import type { IncomingMessage, ServerResponse } from 'node:http';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { startHttpServer } from './http-server.ts';

export const standInKey = 'k3y-of-the-service';
export const standInPassword = 'p4ssw0rd-of-the-tenant';

export interface StandInRequest {
  method: string;
  url: string;
  headers: IncomingMessage['headers'];
  body: string;
}

export type Respond = (request: IncomingMessage, response: ServerResponse) => void;

/** A Tenant Manager that answers what a test says. */
export interface ManagerStandIn {
  readonly requests: StandInRequest[];
  /** What it does with the next requests. */
  respond: Respond;
  /** Settings of a client that asks it. */
  settings(overrides?: Partial<Settings>): Settings;
  close(): Promise<void>;
}

export async function startManagerStandIn(): Promise<ManagerStandIn> {
  const standIn: Omit<ManagerStandIn, 'settings' | 'close'> = { requests: [], respond: json(404, {}) };
  const { address, close } = await startHttpServer((request, body, response) => {
    const { method = '', url = '', headers } = request;
    standIn.requests.push({ method, url, headers, body: body.toString() });
    standIn.respond(request, response);
  });
  const env = { MULTI_TENANT_ENABLED: 'true', MULTI_TENANT_URL: address, MULTI_TENANT_SERVICE_API_KEY: standInKey };
  // Overridden after they were read: a test's seconds may be fractions.
  const settings = (overrides: Partial<Settings> = {}) => ({ ...loadSettings('publisher', env), ...overrides });
  return Object.assign(standIn, { settings, close });
}

export function json(status: number, body: unknown, headers: Record<string, string> = {}): Respond {
  return (_request, response) =>
    void response
      .writeHead(status, { 'content-type': 'application/json', ...headers })
      .end(typeof body === 'string' ? body : JSON.stringify(body));
}

/** Answers every tenant's question for its configuration. */
export function configured(slug = 'blue-harbour'): Respond {
  return (request, response) => json(200, connectionsOf(tenantIn(request), slug))(request, response);
}

export function connectionsOf(id: string, tenantSlug = 'blue-harbour') {
  const login = { username: 'u', password: standInPassword };
  const postgresql = { host: 'db', port: 5432, database: 'd', ...login, sslmode: 'verify-full' };
  const rabbitmq = { host: 'broker', port: 5671, vhost: id, ...login, tls: true };
  return { id, tenantSlug, databases: { matcher: { postgresql } }, rabbitmq: { matcher: rabbitmq } };
}

function tenantIn({ url = '' }: IncomingMessage): string {
  return /^\/v1\/tenants\/([^/]+)\//.exec(url)?.[1] ?? '';
}

/** Keeps requests without an answer until the test has one; `asked` settles when the first has come. */
export function holding(): { respond: Respond; asked: Promise<void>; answer(respond: Respond): void; count(): number } {
  const held: Parameters<Respond>[] = [];
  const { promise: asked, resolve } = Promise.withResolvers<void>();
  return {
    respond: (...args) => {
      held.push(args);
      resolve();
    },
    asked,
    count: () => held.length,
    answer(respond) {
      for (const args of held.splice(0)) respond(...args);
    },
  };
}
