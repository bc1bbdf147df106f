import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { RabbitmqTarget } from '@matcher/shared/tenancy/tenant-config.ts';

/** What the server answers when asked for a tenant's configuration: where it is, or a refusal. */
export type ContractAnswer = { rabbitmq?: Partial<RabbitmqTarget> } | { status: number; body?: object };

/** Speaks the part of the Tenant Manager's contract that workers use, for as many tenants as one likes, none of which exists. */
export interface ContractServer {
  readonly address: string;
  readonly apiKey: string;
  /** The list of active tenants, as it will be answered. */
  readonly active: Set<string>;
  /** Other answers than that a tenant is on this machine, by tenant. */
  readonly answers: Map<string, ContractAnswer>;
  /** While set, every call is answered with this status. */
  failure: number | undefined;
  /** Calls that came: `list`, or the tenant whose configuration was asked for. */
  readonly calls: string[];
  close(): Promise<void>;
}

export async function startContractServer(): Promise<ContractServer> {
  const http = createServer((request, response) => {
    const send = (status: number, body: object) =>
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const url = request.url ?? '';
    const [, tenant] = /^\/v1\/tenants\/([^/]+)\/associations\/matcher\/connections$/.exec(url) ?? [];
    server.calls.push(tenant ?? 'list');
    if (server.failure !== undefined) return send(server.failure, {});
    if (request.headers['x-api-key'] !== server.apiKey) return send(401, { code: 'UNAUTHORIZED', error: 'no key' });
    if (tenant === undefined) {
      return send(
        200,
        [...server.active].map((id) => ({ id, name: id, status: 'active' })),
      );
    }
    const answer = server.answers.get(tenant) ?? {};
    if ('status' in answer) return send(answer.status, answer.body ?? {});
    return send(200, configuration(tenant, answer.rabbitmq));
  });
  const server: ContractServer = {
    get address() {
      return `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
    },
    apiKey: randomUUID(),
    active: new Set(),
    answers: new Map(),
    failure: undefined,
    calls: [],
    async close() {
      http.closeAllConnections();
      await new Promise((closed) => http.close(closed));
    },
  };
  await new Promise<void>((listening) => http.listen(0, '127.0.0.1', listening));
  return server;
}

function configuration(id: string, { user, ...rabbitmq }: Partial<RabbitmqTarget> = {}) {
  const somewhere = { host: '127.0.0.1', port: 1, username: id, password: 'secret' };
  return {
    id,
    tenantSlug: id,
    service: 'matcher',
    status: 'active',
    isolationMode: 'isolated',
    databases: { matcher: { postgresql: { ...somewhere, database: id, sslmode: 'disable' } } },
    rabbitmq: { matcher: { ...somewhere, vhost: id, ...(user === undefined ? {} : { username: user }), ...rabbitmq } },
  };
}
