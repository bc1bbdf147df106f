import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { infoOfRedis } from './checks.ts';
import { type Environment, redisEnvironment, ServicesError } from './environment.ts';
import { program } from './packages.ts';
import { freePorts } from './ports.ts';
import { emptyFolder, handOver, type Supervisor } from './supervisor.ts';

const user = 'redis';

export async function startRedis(supervisor: Supervisor, parent: string, password: string): Promise<Environment> {
  const folder = await emptyFolder(user, join(parent, 'redis'));
  const { port } = await freePorts('port');
  const configuration = join(folder, 'redis.conf');
  writeFileSync(configuration, settings(port, folder, password), { mode: 0o600 });
  handOver(user, configuration);
  const server = supervisor.start('redis', {
    command: program('redis-server') ?? 'redis-server',
    args: [configuration],
    user,
    folder,
  });
  const environment = redisEnvironment({ host: '127.0.0.1', port, password });
  await supervisor.ready(server, async () => {
    const info = await infoOfRedis(environment);
    if (Number(info.get('process_id')) !== server.pid) {
      throw new ServicesError(`port ${port} is already in use by another Redis (process ${info.get('process_id')})`);
    }
  });
  return environment;
}

const settings = (port: number, folder: string, password: string) => `
bind 127.0.0.1
port ${port}
requirepass ${password}
dir ${folder}
save ""
appendonly no
`;
