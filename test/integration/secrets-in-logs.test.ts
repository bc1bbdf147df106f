import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { tenantHeader } from '@matcher/shared/jobs/message.ts';
import { deadLetters, jobsExchange } from '@matcher/shared/rabbitmq/topology.ts';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { loadPairs, simpleContext } from '../support/contexts.ts';
import { startFleet, type TestFleet, until } from '../support/fleet.ts';
import { type ManagerProxy, startManagerProxy } from '../support/manager-proxy.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { openVhost } from '../support/tenant-manager.ts';

vi.setConfig({ testTimeout: 120_000 });

let fleet: TestFleet;
let manager: ManagerProxy;

beforeAll(async () => {
  fleet = await startFleet({ workers: 0 });
  manager = await startManagerProxy(fleet.manager.address);
});
afterAll(async () => {
  await fleet?.close();
  await manager?.close();
});

/** What the servers of the tests are reached with, as far as it is long enough to be nothing else. */
const ofTheServers = () =>
  Object.entries(process.env).flatMap(([name, value]) =>
    /(PASSWORD|SECRET_ACCESS_KEY|API_KEY)$/.test(name) && value !== undefined && value.length >= 8 ? [value] : [],
  );

test('a worker’s whole life, from its start over rotations, outages and mistakes to its end, has no password, key or address with credentials in its log', async () => {
  const logged = (...words: string[]) => fleet.lines.filter((line) => words.every((word) => line.includes(word)));
  const secrets = new Set([fleet.environment.MULTI_TENANT_SERVICE_API_KEY as string, ...ofTheServers()]);
  const tenant = await fleet.tenant();
  const keep = async () => {
    const { postgres, rabbitmq } = await fleet.manager.connections(tenant.id);
    secrets.add(postgres.password).add(rabbitmq.password);
  };
  await keep();
  const env = {
    LOG_LEVEL: 'trace',
    MULTI_TENANT_URL: manager.address,
    MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: '1',
    MULTI_TENANT_CACHE_TTL_SEC: '1',
    MULTI_TENANT_TIMEOUT: '2',
  };
  const worker = await fleet.spawnWorker('matching', env);
  await fleet.spawnWorker('ingest', env);
  const { port } = JSON.parse(logged(`"pid":${worker.pid},`, '"msg":"started"')[0] as string);
  const shown: string[] = [];
  const look = async () => {
    for (const path of ['ready', 'metrics']) shown.push(await (await fetch(`http://127.0.0.1:${port}/${path}`)).text());
  };

  const apply = { version: 1, context: simpleContext() } as const;
  await tenant.done('context.apply', apply);
  await loadPairs(tenant, 5);
  await tenant.done('matching.run', { version: 1, context: 'bank' });
  await look();

  await fleet.manager.rotate(tenant.id);
  await keep();
  await until(() => logged(`"pid":${worker.pid},`, 'a new connection to the vhost has taken over').length > 0);
  await tenant.done('context.apply', apply);

  // Told to use wrong passwords, then ports where nobody listens, or where somebody hangs up.
  const wrong = () => `wrong-${randomBytes(12).toString('hex')}`;
  const detour = { postgresPassword: wrong(), rabbitmqPassword: wrong() };
  secrets.add(detour.postgresPassword).add(detour.rabbitmqPassword);
  const refused = () => logged(tenant.id, 'no new connection to the vhost for now').length;
  for (const mistake of [detour, { postgresPort: 1, rabbitmqPort: 1 }]) {
    const before = refused();
    manager.detours.set(tenant.id, mistake);
    await until(() => refused() > before);
  }
  const { POSTGRES_HOST = '', POSTGRES_PORT, RABBITMQ_HOST = '', RABBITMQ_PORT } = fleet.settings;
  const [database, broker] = [
    await startTcpProxy(POSTGRES_HOST, POSTGRES_PORT),
    await startTcpProxy(RABBITMQ_HOST, RABBITMQ_PORT),
  ];
  manager.detours.set(tenant.id, { postgresPort: database.port, rabbitmqPort: broker.port });
  await until(() => broker.connections > 0 && database.connections > 0);
  await tenant.done('context.apply', apply);
  for (const proxy of [database, broker]) proxy.cut('reset');
  await tenant.done('context.apply', apply);

  // The Tenant Manager fails, and says more than it should.
  const leak = wrong();
  secrets.add(leak);
  for (const answer of [`{"error":"postgres://matcher:${leak}@db/x"`, '<html>']) {
    const before = logged('a request to the Tenant Manager failed').length;
    manager.misbehave = (response) => void response.writeHead(200).end(answer);
    await until(() => logged('a request to the Tenant Manager failed').length > before);
  }
  manager.misbehave = undefined;
  await look();

  // Messages that nobody can read, and one whose work fails.
  const connection = await openVhost((await fleet.manager.connections(tenant.id)).rabbitmq);
  const channel = await connection.createConfirmChannel();
  const bodies = [wrong(), wrong()];
  for (const body of bodies) secrets.add(body);
  for (const content of [bodies[0], JSON.stringify({ version: 1, context: { name: 7, password: bodies[1] } })]) {
    const options = { messageId: `m-${randomBytes(6).toString('hex')}`, type: 'context.apply' };
    const headers = { [tenantHeader]: tenant.id };
    channel.publish(jobsExchange, 'context.apply', Buffer.from(content as string), { ...options, headers });
    const dead = await until(async () => (await channel.get(deadLetters)) || undefined);
    channel.ack(dead);
    expect(dead.content.toString()).toBe(content);
  }
  await connection.close();
  const failed = await tenant.run('matching.run', { version: 1, context: 'nowhere' });
  expect(failed.state).toBe('FAILED');

  const ended = once(worker, 'exit');
  worker.kill('SIGTERM');
  await ended;
  await Promise.all([database.close(), broker.close()]);
  const everything = [...fleet.lines, ...shown];
  expect(everything.length).toBeGreaterThan(50);
  const text = everything.join('\n');
  for (const secret of secrets) expect(text.includes(secret), 'a secret is in the log').toBe(false);
  expect(text).not.toMatch(/\w+:\/\/[^/\s"@]*:[^/\s"@]*@/);
  expect(text).not.toMatch(/X-Amz-(Signature|Credential)|-----BEGIN|"password"/i);
});
