import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode } from '@matcher/shared/errors.ts';
import type { Logger } from '@matcher/shared/observability/log.ts';
import { statementTimeoutOf } from '@matcher/shared/postgres/connection-options.ts';
import { type OpenTenantPool, poolOpener } from '@matcher/shared/postgres/open-pool.ts';
import { type TenantDatabase, tenantDatabase } from '@matcher/shared/postgres/tenant-database.ts';
import { VhostConnection } from '@matcher/shared/rabbitmq/vhost-connection.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { TenantSource } from '@matcher/shared/tenancy/tenant-source.ts';

/** A tenant's database and vhost, for the time of one visit. */
export interface Visit {
  readonly tenantId: TenantId;
  readonly db: TenantDatabase;
  /** Connects when something is published for the first time. */
  readonly vhost: VhostOnDemand;
}

/** A connection that is not made before somebody publishes. */
export class VhostOnDemand extends VhostConnection {
  override publishChannel(timeoutMs?: number): ReturnType<VhostConnection['publishChannel']> {
    this.open();
    return super.publishChannel(timeoutMs);
  }
}

/**
 * Opens what belongs to a tenant for one piece of work, and closes it right after: whoever looks after every tenant in turn must keep none of them
 * connected. Statements follow one another, so a visit has one connection to the database, and a second one only while something is being cancelled.
 */
export class Visits {
  readonly #source: TenantSource;
  readonly #settings: Settings;
  readonly #log: Logger;
  readonly #openPool: OpenTenantPool;

  constructor(source: TenantSource, settings: Settings, log: Logger) {
    this.#source = source;
    this.#settings = settings;
    this.#log = log;
    this.#openPool = poolOpener(source, settings, log);
  }

  /** @throws MatcherError `DATABASE_UNAVAILABLE`, `SCHEMA_TOO_NEW`, and what the tenant's source or `work` throws. */
  async visit<T>(tenantId: TenantId, work: (visit: Visit) => Promise<T>): Promise<T> {
    const log = this.#log.child({ tenantId });
    const { pool, transactions, config, close } = await this.#openPool(tenantId, undefined, (code) =>
      log.warn({ code }, 'the database refuses a connection'),
    );
    const vhost = new VhostOnDemand({
      target: async () => (await this.#source.config(tenantId)).rabbitmq,
      refused: () => this.#source.forget(tenantId),
      name: `matcher scheduler ${tenantId}`,
      log,
    });
    try {
      const db = tenantDatabase(pool, transactions, statementTimeoutOf(config.limits, this.#settings));
      return await work({ tenantId, db, vhost });
    } finally {
      await Promise.all([
        vhost.close().catch((error) => log.debug({ code: errorCode(error) }, 'the vhost was not left in order')),
        close(),
      ]);
    }
  }
}
