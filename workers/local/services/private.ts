import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Deployment } from './deployment.ts';
import type { Environment, ServiceName } from './environment.ts';
import { ensurePackages } from './packages.ts';
import { withFreshPorts } from './ports.ts';
import { startObjects } from './private-objects.ts';
import { startPostgres } from './private-postgres.ts';
import { startRabbitmq } from './private-rabbitmq.ts';
import { startRedis } from './private-redis.ts';
import { Supervisor } from './supervisor.ts';

const starts: Record<ServiceName, typeof startRedis> = {
  postgres: startPostgres,
  redis: startRedis,
  rabbitmq: startRabbitmq,
  objects: startObjects,
};

/** Private instances of the system's packages: own data folder, free ports on the loopback interface, random passwords. */
export function privateDeployment(services: readonly ServiceName[], log: (line: string) => void): Deployment {
  const supervisors: Supervisor[] = [];
  let folder: string | undefined;
  let preparation: Promise<void> | undefined;
  let stopped = false;

  async function attempt(service: ServiceName, parent: string): Promise<Environment> {
    const supervisor = new Supervisor(log);
    supervisors.push(supervisor);
    if (stopped) await supervisor.stop();
    try {
      return await starts[service](supervisor, parent, randomBytes(18).toString('hex'));
    } catch (error) {
      await supervisor.stop();
      throw error;
    }
  }

  return {
    async start() {
      preparation = ensurePackages(services, log);
      await preparation;
      const parent = mkdtempSync(join(tmpdir(), 'matcher-services-'));
      folder = parent;
      // Each server's user must reach its own folder in here, which nobody else can read.
      chmodSync(parent, 0o711);
      const environments = await Promise.all(services.map((service) => withFreshPorts(() => attempt(service, parent))));
      return Object.assign({}, ...environments);
    },
    async stop() {
      stopped = true;
      // An installation that is cut off would leave the system's package database in pieces.
      await preparation?.catch(() => {});
      await Promise.all(supervisors.map((supervisor) => supervisor.stop()));
      if (folder) await rm(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
    },
  };
}
