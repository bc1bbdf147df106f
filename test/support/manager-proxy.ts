import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** Where a tenant is said to be, in place of where it is. */
export interface Detour {
  postgresPort?: number;
  postgresPassword?: string;
  rabbitmqPort?: number;
  rabbitmqPassword?: string;
}

/** Stands between workers and a Tenant Manager: can be away, and can send single tenants through proxies. */
export interface ManagerProxy {
  readonly address: string;
  /** Where the Tenant Manager is; a new one may be elsewhere. */
  target: string;
  /** While set, every call is answered with this status instead. */
  failure: number | undefined;
  /** While set, it has every call, to answer it in its own way or not at all. */
  misbehave: ((response: ServerResponse) => void) | undefined;
  readonly detours: Map<string, Detour>;
  /** Calls that came, as `METHOD /path`. */
  readonly calls: string[];
  close(): Promise<void>;
}

export async function startManagerProxy(target: string): Promise<ManagerProxy> {
  const server = createServer(async (request, response) => {
    const { method = 'GET', url = '/', headers } = request;
    proxy.calls.push(`${method} ${url}`);
    if (proxy.misbehave) {
      proxy.misbehave(response);
      return;
    }
    if (proxy.failure !== undefined) {
      response.writeHead(proxy.failure, { 'content-type': 'application/json' }).end('{}');
      return;
    }
    let answer: Response;
    let body: string;
    try {
      answer = await fetch(proxy.target + url, { method, headers: { 'x-api-key': String(headers['x-api-key']) } });
      body = await answer.text();
    } catch {
      // Nobody is there.
      response.destroy();
      return;
    }
    const [, tenant] = /^\/v1\/tenants\/([^/]+)\/associations\/matcher\/connections$/.exec(url) ?? [];
    const detour = tenant === undefined ? undefined : proxy.detours.get(tenant);
    response.writeHead(answer.status, { 'content-type': 'application/json' });
    response.end(detour && answer.ok ? JSON.stringify(rerouted(JSON.parse(body), detour)) : body);
  });
  const proxy: ManagerProxy = {
    get address() {
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    },
    target,
    failure: undefined,
    misbehave: undefined,
    detours: new Map(),
    calls: [],
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  return proxy;
}

// biome-ignore lint/suspicious/noExplicitAny: the Tenant Manager's own answer
function rerouted(answer: any, { postgresPort, postgresPassword, rabbitmqPort, rabbitmqPassword }: Detour): unknown {
  if (postgresPort) answer.databases.matcher.postgresql.port = postgresPort;
  if (postgresPassword) answer.databases.matcher.postgresql.password = postgresPassword;
  if (rabbitmqPort) answer.rabbitmq.matcher.port = rabbitmqPort;
  if (rabbitmqPassword) answer.rabbitmq.matcher.password = rabbitmqPassword;
  return answer;
}
