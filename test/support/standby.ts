import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PostgresTarget } from '@matcher/shared/tenancy/tenant-config.ts';
import { Client } from 'pg';
import { postgresProgram } from '../../workers/local/services/packages.ts';
import { freePorts } from '../../workers/local/services/ports.ts';
import { startPostgres } from '../../workers/local/services/private-postgres.ts';
import { emptyFolder, type Server, Supervisor } from '../../workers/local/services/supervisor.ts';

/** A PostgreSQL of the test's own and a hot standby that streams from it. */
export interface Standby {
  primary: PostgresTarget;
  replica: PostgresTarget;
  /** Runs one query as the administrator. */
  // biome-ignore lint/suspicious/noExplicitAny: the tests know what they select
  ask(target: PostgresTarget, sql: string): Promise<any[]>;
  /** Waits until the standby has everything that the primary has now. */
  caughtUp(): Promise<void>;
  /** Ends the standby at once, as a crash does. */
  kill(): Promise<void>;
  close(): Promise<void>;
}

const user = 'postgres';
const password = 'of-the-test';

/** Whether this machine has the programs; where the servers run in containers, it may not. */
export const canStandby = [postgresProgram('initdb'), postgresProgram('pg_basebackup')].every(Boolean);

export async function startStandby(): Promise<Standby> {
  const parent = mkdtempSync(join(tmpdir(), 'standby-'));
  // The servers run as a user of their own, who has to get to their folders.
  chmodSync(parent, 0o755);
  const supervisor = new Supervisor(() => {});
  const close = async () => {
    await supervisor.stop();
    await rm(parent, { recursive: true, force: true });
  };
  try {
    const { POSTGRES_PORT } = await startPostgres(supervisor, parent, password);
    const primary: PostgresTarget = {
      host: '127.0.0.1',
      port: Number(POSTGRES_PORT),
      database: 'matcher',
      user: 'matcher',
      password,
      sslmode: 'disable',
    };
    const replica = { ...primary, port: (await freePorts('port')).port };
    const server = await startCopy(supervisor, join(parent, 'copy'), primary, replica.port);
    const caughtUp = async () => {
      const [{ lsn }] = await ask(primary, 'SELECT pg_current_wal_lsn() AS lsn');
      await supervisor.ready(server, async () => {
        const [found] = await ask(replica, `SELECT pg_last_wal_replay_lsn() >= '${lsn}' AS yes`);
        if (!found.yes) throw new Error('behind');
      });
    };
    await caughtUp();
    return {
      primary,
      replica,
      ask,
      caughtUp,
      async kill() {
        process.kill(server.pid, 'SIGQUIT');
        await server.ended;
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function startCopy(supervisor: Supervisor, data: string, primary: PostgresTarget, port: number): Promise<Server> {
  const folder = await emptyFolder(user, data);
  await supervisor.run('pg_basebackup', {
    command: postgresProgram('pg_basebackup') ?? 'pg_basebackup',
    args: [
      ...['-h', primary.host, '-p', String(primary.port), '-U', primary.user, '-D', join(folder, 'data')],
      // It writes down where it is from, and that it is a standby.
      ...['--write-recovery-conf', '--checkpoint=fast', '--no-sync'],
    ],
    user,
    folder,
    env: { PGPASSWORD: primary.password },
  });
  return supervisor.start('standby', {
    command: postgresProgram('postgres') ?? 'postgres',
    args: ['-D', join(folder, 'data'), '-c', `port=${port}`, '-c', `unix_socket_directories=${folder}`],
    user,
    folder,
    stopSignal: 'SIGQUIT',
  });
}

async function ask({ host, port, database, user, password }: PostgresTarget, sql: string) {
  const client = new Client({ host, port, database, user, password });
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
