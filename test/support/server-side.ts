import type { TestFleet, TestTenant } from './fleet.ts';
import { asAdministrator, management } from './tenant-manager.ts';

/** A tenant's connections, as its two servers see them. */

/** Whose connections they are, by the names that they are opened with. */
export type Whose = 'workers' | 'publishers';

const applications = { workers: 'matcher', publishers: 'matcher client' };
const connectionNames = { workers: 'worker', publishers: 'matcher client' };

const ofRole = 'FROM pg_stat_activity WHERE usename = $1 AND application_name = $2';

/** How many connections the database has, of those that were opened before a moment (the database server's time). */
export async function backends(
  { manager }: TestFleet,
  { config }: TestTenant,
  whose: Whose,
  before = 'infinity',
): Promise<number> {
  const values = [config.postgres.user, applications[whose], before];
  return (await asAdministrator(manager.settings, `SELECT ${ofRole} AND backend_start < $3`, values)).length;
}

export async function serverTime({ manager }: TestFleet): Promise<string> {
  return (await asAdministrator(manager.settings, 'SELECT clock_timestamp()::text AS now'))[0].now;
}

interface BrokerConnection {
  name: string;
  user: string;
  client_properties: { connection_name?: string };
}

/** Connections to the vhost. The broker lists one a little later than it has it. */
export async function brokerConnections(
  { manager }: TestFleet,
  { config, id }: TestTenant,
  whose: Whose,
): Promise<BrokerConnection[]> {
  const answer = await management(manager.settings, 'GET', `vhosts/${config.rabbitmq.vhost}/connections`);
  const name = `${connectionNames[whose]} ${id}`;
  return ((await answer.json()) as BrokerConnection[]).filter((one) => one.client_properties.connection_name === name);
}

/** Ends all of them, on both servers. */
export async function cut(fleet: TestFleet, tenant: TestTenant, whose: Whose): Promise<void> {
  const { user } = tenant.config.postgres;
  await asAdministrator(fleet.manager.settings, `SELECT pg_terminate_backend(pid) ${ofRole}`, [
    user,
    applications[whose],
  ]);
  for (const { name } of await brokerConnections(fleet, tenant, whose)) {
    await management(fleet.manager.settings, 'DELETE', `connections/${encodeURIComponent(name)}`);
  }
}
