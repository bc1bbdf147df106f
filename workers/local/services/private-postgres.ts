import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { queryPostgres } from './checks.ts';
import { type Environment, postgresEnvironment, ServicesError } from './environment.ts';
import { postgresProgram } from './packages.ts';
import { freePorts } from './ports.ts';
import { emptyFolder, handOver, type Supervisor } from './supervisor.ts';

const user = 'postgres';

export async function startPostgres(supervisor: Supervisor, parent: string, password: string): Promise<Environment> {
  const folder = await emptyFolder(user, join(parent, 'postgres'));
  const data = join(folder, 'data');
  const passwordFile = join(folder, 'password');
  writeFileSync(passwordFile, password, { mode: 0o600 });
  handOver(user, passwordFile);
  await supervisor.run('initdb', {
    command: postgresProgram('initdb') ?? 'initdb',
    args: [
      `--pgdata=${data}`,
      '--username=matcher',
      `--pwfile=${passwordFile}`,
      '--auth=scram-sha-256',
      '--encoding=UTF8',
      '--locale=C',
      // About the freshly made files only; the server itself syncs as it does in production.
      '--no-sync',
    ],
    user,
    folder,
  });
  const { port } = await freePorts('port');
  appendFileSync(join(data, 'postgresql.conf'), settings(port, folder));
  const server = supervisor.start('postgres', {
    command: postgresProgram('postgres') ?? 'postgres',
    args: ['-D', data],
    user,
    folder,
    stopSignal: 'SIGQUIT',
  });
  const environment = postgresEnvironment({ host: '127.0.0.1', port, user: 'matcher', password, database: 'matcher' });
  await supervisor.ready(server, async () => {
    const rows = await queryPostgres<{ data_directory: string }>(environment, 'SHOW data_directory', 'postgres');
    if (rows[0]?.data_directory !== data) {
      throw new ServicesError(`port ${port} is already in use by another PostgreSQL (${rows[0]?.data_directory})`);
    }
  });
  await queryPostgres(environment, 'CREATE DATABASE matcher', 'postgres');
  return environment;
}

// Durability stays as it is in production: what is measured on this server must mean something.
const settings = (port: number, folder: string) => `
listen_addresses = '127.0.0.1'
port = ${port}
unix_socket_directories = '${folder}'
max_connections = 400
shared_buffers = 256MB
timezone = 'UTC'
log_timezone = 'UTC'
`;
