import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { splitAddress } from '@matcher/shared/config/kinds.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { Pool } from 'pg';
import { administratorOptions } from './administrator.ts';
import { openLifecycleEvents } from './lifecycle-events.ts';
import { migrate } from './migrate.ts';
import { PasswordSeal } from './passwords.ts';
import { closeCommonDatabases } from './provision-database.ts';
import { createBroker } from './provision-vhost.ts';
import { createServer } from './server.ts';

/** How long a server that isn't there yet is waited for. */
const patienceMs = 30_000;

export interface RunningTenantManager {
  /** As MULTI_TENANT_URL takes it: `http://host:port`. */
  address: string;
  /** Stops accepting, lets the requests under way finish (for DRAIN_TIMEOUT_SEC), closes every connection. */
  close(): Promise<void>;
}

/**
 * Starts the Tenant Manager in this process.
 *
 * @param settings as `loadSettings('tenant-manager')` returns them; port 0 in SERVER_ADDRESS means any free one.
 * @throws MatcherError `STARTUP_FAILED` when PostgreSQL or RabbitMQ refuses, or isn't there within 30 seconds, or the address is taken.
 */
export async function startTenantManager(settings: Settings, log: Logger): Promise<RunningTenantManager> {
  const pool = openPool(settings, log);
  const broker = createBroker(settings);
  try {
    await untilThere(`PostgreSQL at ${settings.POSTGRES_HOST}:${settings.POSTGRES_PORT}`, log, () =>
      prepareDatabase(pool, settings, log),
    );
    await untilThere(`RabbitMQ at ${settings.RABBITMQ_MANAGEMENT_URL}`, log, () => broker.check());
  } catch (error) {
    await pool.end();
    throw error;
  }
  const events = await openLifecycleEvents(settings, log);
  const seal = new PasswordSeal(settings.MULTI_TENANT_SERVICE_API_KEY ?? '');
  const app = createServer({ settings, log, pool, broker, seal, events });
  const close = async () => {
    const limit = setTimeout(() => {
      log.warn('requests did not finish in time; a provisioning that was cut off is continued by the same request');
      app.server.closeAllConnections();
    }, settings.DRAIN_TIMEOUT_SEC * 1000);
    await app.close();
    clearTimeout(limit);
    events.close();
    await pool.end();
  };
  const { host, port } = splitAddress(settings.SERVER_ADDRESS);
  try {
    await app.listen({ host, port });
  } catch (error) {
    await close();
    throw new MatcherError('STARTUP_FAILED', `Cannot listen on ${settings.SERVER_ADDRESS}: ${errorMessage(error)}`);
  }
  const bound = app.server.address() as AddressInfo;
  const everywhere = host === '' || host === '0.0.0.0' || host === '::';
  const shown = everywhere ? '127.0.0.1' : host.includes(':') ? `[${host}]` : host;
  const address = `http://${shown}:${bound.port}`;
  log.info({ address: `${shown}:${bound.port}` }, 'the Tenant Manager is up');
  return { address, close };
}

function openPool(settings: Settings, log: Logger): Pool {
  const pool = new Pool({
    ...administratorOptions(settings),
    max: settings.POSTGRES_MAX_OPEN_CONNS,
  });
  // On the clients, since the pool listens to idle ones only, and one that is lent may wait for RabbitMQ when its connection breaks.
  pool.on('connect', (client) => {
    client.on('error', (error) => log.warn({ reason: errorMessage(error) }, 'a connection to PostgreSQL was lost'));
  });
  // Without a listener the pool's own report of the same event would end the process.
  pool.on('error', () => {});
  return pool;
}

async function prepareDatabase(pool: Pool, settings: Settings, log: Logger): Promise<void> {
  const client = await pool.connect();
  try {
    await migrate(client);
    const open = await closeCommonDatabases(client, settings.POSTGRES_DB ?? '');
    if (open.length > 0) {
      log.warn(
        { databases: open },
        'every role, so every tenant, can connect to these databases: revoke it from PUBLIC',
      );
    }
  } finally {
    client.release();
  }
}

/** Repeats `attempt` until it succeeds, or fails in a way that waiting does not change. */
async function untilThere(what: string, log: Logger, attempt: () => Promise<void>): Promise<void> {
  const deadline = Date.now() + patienceMs;
  for (let pause = 100; ; pause = Math.min(pause * 2, 2000)) {
    try {
      return await attempt();
    } catch (error) {
      const reason = errorMessage(error);
      const final = isFinal(error);
      if (final || Date.now() + pause > deadline) {
        const waited = final ? '' : ` is not there after ${patienceMs / 1000} s`;
        const hint = error instanceof MatcherError && error.hint ? `. ${error.hint}` : '';
        throw new MatcherError('STARTUP_FAILED', `${what}${waited}: ${reason}${hint}`, { cause: error });
      }
      log.warn({ reason }, `${what} is not there yet`);
      await delay(pause);
    }
  }
}

function isFinal(error: unknown): boolean {
  if (error instanceof MatcherError) return error.remedy === 'permanent';
  // Wrong credentials, unknown database, missing privilege.
  return /^(28|3D|42)...$/.test(errorCode(error));
}
