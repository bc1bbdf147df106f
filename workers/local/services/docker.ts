import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { checks } from './checks.ts';
import { type CommandResult, lastLines, runCommand } from './commands.ts';
import type { Deployment } from './deployment.ts';
import {
  type Environment,
  objectsEnvironment,
  postgresEnvironment,
  rabbitmqEnvironment,
  redisEnvironment,
  type ServiceName,
  ServicesError,
  serviceTitles,
} from './environment.ts';

const composeFile = join(import.meta.dirname, '../../../docker-compose.yml');
/** An engine that runs answers within milliseconds; an address that leads nowhere would hang for minutes. */
const probeMs = 3000;
const readyWithinMs = 120_000;

/** Whether there is an engine that can run the services here: the `docker` command alone says nothing about that. */
export async function dockerAnswers(log: (line: string) => void): Promise<boolean> {
  const engine = await runCommand('docker', ['version', '--format', '{{.Server.Version}}'], { timeoutMs: probeMs });
  if (engine.code !== 0) return false;
  const compose = await runCommand('docker', ['compose', 'version', '--short'], { timeoutMs: probeMs });
  if (compose.code !== 0) {
    log('Docker runs here but has no compose plugin: going on without it');
    return false;
  }
  const context = ['context', 'inspect', '--format', '{{.Endpoints.docker.Host}}'];
  const address =
    process.env.DOCKER_HOST || (await runCommand('docker', context, { timeoutMs: probeMs })).stdout.trim();
  if (isLocal(address)) return true;
  log(`Docker runs on another machine (${address}), where ports on the loopback interface are out of reach: not used`);
  return false;
}

function isLocal(address: string): boolean {
  return /^(unix|npipe):/.test(address) || /^tcp:\/\/(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:|$|\/)/.test(address);
}

/** The services of `docker-compose.yml`, in a project of its own with random ports and passwords. */
export function dockerDeployment(services: readonly ServiceName[], log: (line: string) => void): Deployment {
  const project = `matcher-${randomBytes(5).toString('hex')}`;
  const password = randomBytes(18).toString('hex');
  const starting = new AbortController();
  let up: Promise<CommandResult> | undefined;

  const compose = (args: string[], signal?: AbortSignal) =>
    runCommand('docker', ['compose', '--project-name', project, '--file', composeFile, ...args], {
      env: {
        POSTGRES_PASSWORD: password,
        REDIS_PASSWORD: password,
        RABBITMQ_PASSWORD: password,
        OBJECT_STORAGE_SECRET_ACCESS_KEY: password,
        // Empty: the engine picks a free one.
        POSTGRES_PORT: '',
        REDIS_PORT: '',
        RABBITMQ_PORT: '',
        RABBITMQ_MANAGEMENT_PORT: '',
        OBJECT_STORAGE_PORT: '',
      },
      ...(signal ? { signal } : {}),
    });

  async function portOf(service: ServiceName, port: number): Promise<string> {
    const { code, stdout, output } = await compose(['port', service, String(port)]);
    const published = /:(\d+)\s*$/.exec(stdout)?.[1];
    if (code !== 0 || !published) {
      throw new ServicesError(`docker compose does not tell the port of ${service}:\n${lastLines(output)}`);
    }
    return published;
  }

  const environmentOf: Record<ServiceName, () => Promise<Environment>> = {
    postgres: async () =>
      postgresEnvironment({
        host: '127.0.0.1',
        port: await portOf('postgres', 5432),
        user: 'matcher',
        password,
        database: 'matcher',
      }),
    redis: async () => redisEnvironment({ host: '127.0.0.1', port: await portOf('redis', 6379), password }),
    rabbitmq: async () =>
      rabbitmqEnvironment({
        host: '127.0.0.1',
        port: await portOf('rabbitmq', 5672),
        user: 'matcher',
        password,
        vhost: '/',
        managementUrl: `http://127.0.0.1:${await portOf('rabbitmq', 15672)}`,
      }),
    objects: async () =>
      objectsEnvironment({
        endpoint: `http://127.0.0.1:${await portOf('objects', 7070)}`,
        region: 'us-east-1',
        bucket: 'matcher',
        accessKeyId: 'matcher',
        secretAccessKey: password,
      }),
  };

  async function ready(service: ServiceName): Promise<Environment> {
    const environment = await environmentOf[service]();
    const deadline = Date.now() + readyWithinMs;
    for (;;) {
      const problem = await checks[service](environment).then(
        () => undefined,
        (error: Error) => error,
      );
      if (!problem) return environment;
      starting.signal.throwIfAborted();
      if (Date.now() > deadline) {
        const { output } = await compose(['logs', '--no-color', '--tail', '15', service]);
        const seconds = readyWithinMs / 1000;
        throw new ServicesError(
          `${serviceTitles[service]} in Docker did not answer within ${seconds} s: ${problem.message}\n${output}`,
        );
      }
      await sleep(200);
    }
  }

  return {
    async start() {
      log('starting the services with docker compose (the first time, images are downloaded)');
      up = compose(['up', '--detach', '--quiet-pull', ...services], starting.signal);
      const { code, output } = await up;
      if (code !== 0) throw new ServicesError(`docker compose could not start the services:\n${lastLines(output)}`);
      return Object.assign({}, ...(await Promise.all(services.map(ready))));
    },
    async stop() {
      starting.abort();
      await up;
      const { code, output } = await compose(['down', '--volumes', '--timeout', '2']);
      if (code !== 0) throw new ServicesError(`docker compose could not remove the services:\n${lastLines(output)}`);
    },
  };
}
