import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { infoOfRedis } from '../../workers/local/services/checks.ts';
import { dockerAnswers, dockerDeployment } from '../../workers/local/services/docker.ts';
import { type Environment, splitHostPort } from '../../workers/local/services/environment.ts';
import { ensurePackages, program } from '../../workers/local/services/packages.ts';
import { startRedis } from '../../workers/local/services/private-redis.ts';
import { gone } from '../../workers/local/services/processes.ts';
import { Supervisor } from '../../workers/local/services/supervisor.ts';

/** Whether it comes back with what it held. */
export type RedisMemory = 'kept' | 'lost';

/** A Redis of a test's own, which is killed and comes back. */
export interface OwnRedis {
  environment: Environment;
  /** Returns when it is gone. In Docker, whose containers change their ports when they are restarted, only its connections end. */
  down(memory: RedisMemory): Promise<void>;
  /** Returns when it answers. */
  up(): Promise<void>;
  close(): Promise<void>;
}

const log = (line: string) => void process.stderr.write(`${line}\n`);

export async function startOwnRedis(): Promise<OwnRedis> {
  return (await dockerAnswers(log)) ? await inDocker() : await privately();
}

async function privately(): Promise<OwnRedis> {
  await ensurePackages(['redis'], log);
  const parent = mkdtempSync(join(tmpdir(), 'matcher-redis-'));
  // The server's user must reach its own folder in here.
  chmodSync(parent, 0o711);
  // What it says of the server's end is no news here.
  const supervisor = new Supervisor(() => {});
  const close = async () => {
    await supervisor.stop();
    await rm(parent, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  const folder = join(parent, 'redis');
  try {
    const environment = await startRedis(supervisor, parent, crypto.randomUUID());
    return {
      environment,
      async down(memory) {
        if (memory === 'kept') await command(environment, 'SAVE');
        else await rm(join(folder, 'dump.rdb'), { force: true });
        const pid = Number((await infoOfRedis(environment)).get('process_id'));
        process.kill(pid, 'SIGKILL');
        if (!(await gone([pid], 60_000))) throw new Error('Redis does not end');
      },
      async up() {
        const server = supervisor.start('redis', {
          command: program('redis-server') ?? 'redis-server',
          args: [join(folder, 'redis.conf')],
          user: 'redis',
          folder,
        });
        await supervisor.ready(server, async () => void (await infoOfRedis(environment)));
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function inDocker(): Promise<OwnRedis> {
  const deployment = dockerDeployment(['redis'], log);
  try {
    const environment = await deployment.start();
    return {
      environment,
      async down(memory) {
        if (memory === 'lost') await command(environment, 'FLUSHALL');
        for (const type of ['normal', 'pubsub']) await command(environment, 'CLIENT', 'KILL', 'TYPE', type);
      },
      up: async () => void (await infoOfRedis(environment)),
      close: () => deployment.stop(),
    };
  } catch (error) {
    await deployment.stop();
    throw error;
  }
}

async function command({ REDIS_HOST = '', REDIS_PASSWORD }: Environment, name: string, ...args: string[]) {
  const [host, port] = splitHostPort(REDIS_HOST);
  const client = new Redis({ host, port: Number(port), ...(REDIS_PASSWORD && { password: REDIS_PASSWORD }) });
  client.on('error', () => {});
  try {
    await client.call(name, ...args);
  } finally {
    client.disconnect();
  }
}
