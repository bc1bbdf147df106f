import { randomBytes, randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { createLog } from '@matcher/shared/observability/log.ts';
import { connectionOptions } from '@matcher/shared/postgres/connection-options.ts';
import { type TenantConfig, tenantConfigFrom } from '@matcher/shared/tenancy/tenant-config.ts';
import { canonicalTenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { connectionsAnswer } from '@matcher/shared/tenancy/wire.ts';
import { connect } from 'amqplib';
import { Client, type ClientConfig } from 'pg';
import { administratorOptions } from '../../workers/tenant-manager/administrator.ts';
import { dropSchema } from '../../workers/tenant-manager/provision-schema.ts';
import { startTenantManager } from '../../workers/tenant-manager/start.ts';

export interface Answer {
  status: number;
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what they expect of each body
  body: any;
}

export type IsolationMode = 'isolated' | 'database' | 'schema';

/** As the call takes them: `null` clears one. */
export interface Limits {
  maxOpenConns?: number | null;
  maxIdleConns?: number | null;
  statementTimeout?: string | number | null;
}

export interface Fixture {
  settings: Settings;
  /** Works as MULTI_TENANT_URL. */
  address: string;
  /** Everything the Tenant Manager logged so far. */
  log(): string;
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Answer>;
  /** A tenant that does nothing yet. */
  create(id?: string): Promise<string>;
  /** A tenant with its database and vhost, and how to reach them. */
  onboard(id?: string, isolationMode?: IsolationMode): Promise<TenantConfig>;
  /** Asked anew, as every answer here. */
  connections(id: string): Promise<TenantConfig>;
  /** New passwords, of both kinds unless one is named. */
  rotate(id: string, credentialType?: 'database' | 'broker'): Promise<void>;
  limits(id: string, limits: Limits): Promise<void>;
  /** The service, for this tenant. */
  suspend(id: string): Promise<void>;
  reactivate(id: string): Promise<void>;
  /** Ends the association; the data stays. */
  remove(id: string): Promise<void>;
  close(): Promise<void>;
}

/** The environment of a Tenant Manager on the tests' servers, on any free port and with a channel of its own. */
export function tenantManagerEnv(overrides: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    SERVER_ADDRESS: '127.0.0.1:0',
    MULTI_TENANT_SERVICE_API_KEY: randomUUID(),
    MULTI_TENANT_ENVIRONMENT: `test-${randomBytes(4).toString('hex')}`,
    ...overrides,
  };
}

/** A Tenant Manager in this process. Closing it removes the databases, roles, vhosts and users of the tenants made through it. */
export async function startFixture(overrides: NodeJS.ProcessEnv = {}): Promise<Fixture> {
  const settings = loadSettings('tenant-manager', tenantManagerEnv(overrides));
  const lines: string[] = [];
  const log = createLog({ ENV_NAME: 'test', LOG_LEVEL: 'debug' }, 'tenant-manager', {
    write: (line) => void lines.push(line),
  });
  const manager = await startTenantManager(settings, log);
  const created = new Set<string>();

  const call: Fixture['call'] = async (method, path, body, headers = {}) => {
    const response = await fetch(manager.address + path, {
      method,
      headers: {
        'x-api-key': settings.MULTI_TENANT_SERVICE_API_KEY ?? '',
        ...(body === undefined ? {} : { 'content-type': 'application/json' }),
        ...headers,
      },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const answer = { status: response.status, body: await response.json() } as Answer;
    if (method === 'POST' && path === '/v1/tenants' && answer.status === 201) created.add(answer.body.id);
    return answer;
  };

  const succeed = async (method: string, path: string, body?: unknown) => {
    const answer = await call(method, path, body);
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer.body;
  };
  const association = (id: string) => `/v1/tenants/${id}/associations/matcher`;

  const fixture: Fixture = {
    settings,
    address: manager.address,
    log: () => lines.join(''),
    call,
    async create(id = randomUUID()) {
      return (await succeed('POST', '/v1/tenants', { ...validTenant(), id })).id;
    },
    async onboard(id, isolationMode = 'isolated') {
      const tenantId = await fixture.create(id);
      await succeed('POST', association(tenantId), { isolationMode });
      return fixture.connections(tenantId);
    },
    async connections(id) {
      const body = await succeed('GET', `${association(id)}/connections`);
      return tenantConfigFrom(connectionsAnswer.parse(body), canonicalTenantId(id), settings);
    },
    async rotate(id, credentialType) {
      await succeed('POST', `${association(id)}/credentials/rotate`, credentialType && { credentialType });
    },
    limits: (id, limits) => succeed('PUT', `${association(id)}/connection-settings`, limits),
    suspend: (id) => succeed('PUT', `${association(id)}/suspend`),
    reactivate: (id) => succeed('PUT', `/v1/tenants/${id}/reactivate`),
    remove: (id) => succeed('DELETE', association(id)),
    async close() {
      await manager.close();
      // A few at a time: each takes connections of its own, and a bench may have made a thousand.
      const left = [...created];
      const removeNext = async () => {
        for (let id = left.pop(); id !== undefined; id = left.pop()) await removeTenant(settings, id);
      };
      await Promise.all(Array.from({ length: 8 }, removeNext));
    },
  };
  return fixture;
}

/** A body of `POST /v1/tenants` that is accepted. */
export function validTenant() {
  const owner = { email: 'owner@example.com', emailVerified: true };
  return { name: 'Blue Harbour Ltd', environment: 'test', isolation: 'isolated', owner };
}

/** Runs one query as the administrator, in the Tenant Manager's database. */
export async function asAdministrator(settings: Settings, query: string, values: string[] = []) {
  return queryWith(administratorOptions(settings), query, values);
}

/** Connects as a tenant's role, to its own database or the one named, and runs one query. */
export async function queryAs(
  target: TenantConfig['postgres'],
  settings: Settings,
  query: string,
  values: unknown[] = [],
) {
  return queryWith(connectionOptions(target, settings, 'test'), query, values);
}

async function queryWith(options: ClientConfig, query: string, values: unknown[]) {
  const client = new Client(options);
  await client.connect();
  try {
    return (await client.query(query, values)).rows;
  } finally {
    await client.end();
  }
}

/** Opens a vhost as a tenant's user, its own or the one named. */
export async function openVhost({ host, port, user, password, vhost }: TenantConfig['rabbitmq']) {
  return connect({ protocol: 'amqp', hostname: host, port, username: user, password, vhost });
}

/** A request to RabbitMQ's management API as its administrator. */
export async function management(settings: Settings, method: string, path: string): Promise<Response> {
  const credentials = Buffer.from(`${settings.RABBITMQ_USER}:${settings.RABBITMQ_PASSWORD}`).toString('base64');
  return fetch(`${settings.RABBITMQ_MANAGEMENT_URL}/api/${path}`, {
    method,
    headers: { authorization: `Basic ${credentials}` },
  });
}

/**
 * A way to RabbitMQ's management API that a test can cut: what `intercept` does not answer itself (by returning true) goes through.
 */
export async function managementProxy(
  target: string,
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean,
) {
  const server = createServer(async (request, response) => {
    if (intercept(request, response)) return;
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { authorization = '' } = request.headers;
    const answer = await fetch(target + request.url, {
      method: request.method ?? 'GET',
      headers: { authorization, 'content-type': 'application/json' },
      ...(chunks.length > 0 ? { body: Buffer.concat(chunks) } : {}),
    });
    response.writeHead(answer.status).end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function removeTenant(settings: Settings, id: string): Promise<void> {
  const rows = await asAdministrator(
    settings,
    `DELETE FROM tenant_manager.associations WHERE tenant_id = $1
     RETURNING resource_name AS name, database_name AS database`,
    [id],
  );
  for (const { name, database } of rows) {
    if (database === name) await asAdministrator(settings, `DROP DATABASE IF EXISTS "${name}" WITH (FORCE)`);
    else await removeSchema(settings, database, name);
    await asAdministrator(settings, `DROP ROLE IF EXISTS "${name}"`);
    await management(settings, 'DELETE', `vhosts/${name}`);
    for (const user of [name, `${name}_b`]) await management(settings, 'DELETE', `users/${user}`);
  }
  await asAdministrator(settings, 'DELETE FROM tenant_manager.tenants WHERE id = $1', [id]);
}

async function removeSchema(settings: Settings, database: string, name: string): Promise<void> {
  const client = new Client(administratorOptions(settings));
  await client.connect();
  try {
    await dropSchema(client, settings, database, name);
  } finally {
    await client.end();
  }
}
