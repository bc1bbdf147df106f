import { Client } from 'pg';
import type { Stage, StageTenant } from './stage.ts';

/** Opens a tenant's database as the server's administrator, whose password nobody rotates. */
export async function openDatabase({ postgres }: Stage, { connections }: StageTenant): Promise<Client> {
  const { host, port, database, schema } = connections.postgres;
  const { POSTGRES_USER: user, POSTGRES_PASSWORD: password } = postgres.environment;
  const client = new Client({ host, port, user, password, database, connectionTimeoutMillis: 5000 });
  client.on('error', () => {});
  await client.connect();
  if (schema) await client.query(`SET search_path TO "${schema}"`);
  return client;
}

/** One statement in a tenant's database. */
// biome-ignore lint/suspicious/noExplicitAny: whoever asks knows what is selected
export async function ask(stage: Stage, tenant: StageTenant, sql: string): Promise<any[]> {
  const client = await openDatabase(stage, tenant);
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
