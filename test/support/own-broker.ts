import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { dockerAnswers, dockerDeployment } from '../../workers/local/services/docker.ts';
import type { Environment } from '../../workers/local/services/environment.ts';
import { ensurePackages } from '../../workers/local/services/packages.ts';
import { prepareRabbitmq } from '../../workers/local/services/private-rabbitmq.ts';
import { Supervisor } from '../../workers/local/services/supervisor.ts';

/** A RabbitMQ of a test's own, which goes down and comes back with its data. */
export interface OwnBroker {
  environment: Environment;
  /** Kills it, or, in Docker, whose containers change their ports by that, stops all of it but Erlang. Returns when it is gone. */
  down(): Promise<void>;
  /** Returns when it answers. */
  up(): Promise<void>;
  close(): Promise<void>;
}

const log = (line: string) => void process.stderr.write(`${line}\n`);

export async function startOwnBroker(): Promise<OwnBroker> {
  return (await dockerAnswers(log)) ? await inDocker() : await privately();
}

async function privately(): Promise<OwnBroker> {
  await ensurePackages(['rabbitmq'], log);
  const folder = mkdtempSync(join(tmpdir(), 'matcher-broker-'));
  // The broker's user must reach its own folder in here.
  chmodSync(folder, 0o711);
  // What it says of the broker's end is no news here.
  const supervisor = new Supervisor(() => {});
  const close = async () => {
    await supervisor.stop();
    await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
  };
  try {
    const { environment, run } = await prepareRabbitmq(supervisor, folder, randomBytes(18).toString('hex'));
    let server = await run();
    return {
      environment,
      async down() {
        process.kill(server.pid, 'SIGKILL');
        await server.ended;
      },
      async up() {
        server = await run();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function inDocker(): Promise<OwnBroker> {
  const deployment = dockerDeployment(['rabbitmq'], log);
  const docker = async (...args: string[]) => (await promisify(execFile)('docker', args)).stdout.trim();
  try {
    const environment = await deployment.start();
    const container = await docker('ps', '--quiet', '--filter', `publish=${environment.RABBITMQ_PORT}`);
    return {
      environment,
      down: async () => void (await docker('exec', container, 'rabbitmqctl', 'stop_app')),
      up: async () => void (await docker('exec', container, 'rabbitmqctl', 'start_app')),
      close: () => deployment.stop(),
    };
  } catch (error) {
    await deployment.stop();
    throw error;
  }
}
