import type { Client, Pool } from 'pg';
import { MatcherError } from '../errors.ts';
import { type CountedClient, countedClient } from './counted-client.ts';

/** How long (ms) a pool that is closed may take to let its connections go. */
const goodbyeMs = 3000;

interface Server {
  /** Connections of all its pools. */
  taken: number;
  /** Those that are being closed so that somebody else can have one. */
  returning: number;
  readonly waiting: { admit(): void }[];
  /** Least recently used first. */
  readonly shares: Set<Share>;
  /** The most recently used one. */
  newest: Share | undefined;
}

/** One pool's part of what its server may be burdened with. */
interface Share {
  readonly server: Server;
  pool: Pool | undefined;
  /** From before they connect until they are gone. */
  readonly clients: Set<Pick<CountedClient, 'destroy'>>;
  /** Those of them that the pool has given away. */
  lent: number;
  /** Called when the last one is gone. */
  emptied?: () => void;
}

export interface CountedPool {
  readonly pool: Pool;
  /**
   * Takes one of the pool's connections away, for one that is made elsewhere.
   *
   * @returns what gives it back, to be called when that connection is gone.
   * @throws MatcherError `DATABASE_CONNECTIONS_EXHAUSTED` when it waited in vain.
   */
  lend(): Promise<() => void>;
  /** Ends when no connection is left, also when the server has become a black hole. Never throws. */
  close(): Promise<void>;
}

/**
 * The connections that this process has to each database server. A pool may have as many as its tenant's settings say, but the pools of one
 * server together never more than `perServer`. Every pool can count on `perPool` of them and has more only while there are some left. When
 * there are none for a pool that has fewer, its new connection waits: idle ones are closed for it, the least recently used pool's first, and
 * whoever has more than `perPool` gives them back as they are released, which takes no longer than a short query.
 */
export class ServerBudget {
  readonly #servers = new Map<string, Server>();
  readonly #perServer: number;
  readonly #perPool: number;

  constructor(perServer: number, perPool: number) {
    this.#perServer = perServer;
    this.#perPool = perPool;
  }

  /**
   * A pool whose connections count.
   *
   * @param address of the server: host and port.
   * @param connectTimeoutMs how long a connection may take; half of it is for waiting until there may be one.
   * @param create makes the pool with this `Client`, whose `connect` throws `DATABASE_CONNECTIONS_EXHAUSTED` when it waited in vain.
   * @param failed told of every connection that the server refused or that could not be made.
   */
  pool(
    address: string,
    connectTimeoutMs: number,
    create: (client: new () => Client) => Pool,
    failed: (error: unknown) => void,
  ): CountedPool {
    const server = this.#servers.get(address) ?? {
      taken: 0,
      returning: 0,
      waiting: [],
      shares: new Set(),
      newest: undefined,
    };
    this.#servers.set(address, server);
    const share: Share = { server, pool: undefined, clients: new Set(), lent: 0 };
    const pool = create(countedClient((client) => this.#permit(share, client, connectTimeoutMs / 2), failed));
    share.pool = pool;
    server.shares.add(share);
    const { max } = pool.options;
    // The pool looks at this before it opens a connection: queries need not wait for what it can't have while others are released.
    Object.defineProperty(pool.options, 'max', {
      get: () => {
        const most = max - share.lent;
        return this.#hasLeft(server) ? most : Math.min(most, Math.max(this.#perPool - share.lent, pool.totalCount));
      },
    });
    pool.on('acquire', () => {
      if (server.newest === share) return;
      server.newest = share;
      server.shares.delete(share);
      server.shares.add(share);
    });
    pool.on('release', (_error, client) => {
      if (!this.#isWantedBack(server, pool, share.lent) || !share.clients.has(client as Client as CountedClient))
        return;
      server.returning++;
      client.once('end', () => server.returning--);
      // The pool lets go of a client that has been ended.
      void client.end();
    });
    const close = async () => {
      const timer = setTimeout(() => {
        for (const client of share.clients) client.destroy();
      }, goodbyeMs);
      // The pool's own promise does not wait for the connections' ends.
      await pool.end().catch(() => {});
      if (share.clients.size > 0) await new Promise<void>((resolve) => (share.emptied = resolve));
      clearTimeout(timer);
      server.shares.delete(share);
      if (server.newest === share) server.newest = undefined;
      if (server.shares.size === 0) this.#servers.delete(address);
    };
    const lend = async () => {
      share.lent++;
      try {
        // It has one more than it may have now: one that is idle, or that is released next, makes room.
        if (pool.totalCount > max - share.lent) (await pool.connect()).release(true);
        const giveBack = await this.#permit(share, { destroy: () => {} }, connectTimeoutMs / 2);
        return () => {
          share.lent--;
          giveBack();
        };
      } catch (error) {
        share.lent--;
        throw error;
      }
    };
    return { pool, lend, close };
  }

  /** @returns what gives the permit back. */
  async #permit(share: Share, client: Pick<CountedClient, 'destroy'>, patienceMs: number): Promise<() => void> {
    const { server } = share;
    if (this.#hasLeft(server)) {
      server.taken++;
      share.clients.add(client);
    } else {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      const admit = () => {
        share.clients.add(client);
        resolve();
      };
      const waiter = { admit };
      server.waiting.push(waiter);
      this.#takeIdleBack(server);
      const timer = setTimeout(() => {
        server.waiting.splice(server.waiting.indexOf(waiter), 1);
        reject(exhausted(server.taken));
      }, patienceMs);
      await promise.finally(() => clearTimeout(timer));
    }
    return () => {
      share.clients.delete(client);
      if (share.clients.size === 0) share.emptied?.();
      this.#passOn(server);
    };
  }

  #hasLeft(server: Server): boolean {
    return server.taken < this.#perServer && server.waiting.length === 0;
  }

  /** A permit that was given back goes to the next one. */
  #passOn(server: Server): void {
    const next = server.waiting.shift();
    if (next) next.admit();
    else server.taken--;
  }

  /** Whether a connection that its user has just released is needed more elsewhere. */
  #isWantedBack(server: Server, pool: Pool, lent: number): boolean {
    const has = pool.totalCount + lent;
    return server.waiting.length > server.returning && (has > this.#perPool || pool.waitingCount === 0);
  }

  /** Takes idle connections out of their pools for a moment: in being released they are noticed. */
  #takeIdleBack(server: Server): void {
    let missing = server.waiting.length - server.returning;
    for (const { pool } of [...server.shares]) {
      const spare = pool ? pool.idleCount - pool.waitingCount : 0;
      for (let i = 0; i < spare && missing > 0; i++, missing--) {
        pool?.connect().then(
          (client) => client.release(),
          () => {},
        );
      }
    }
  }
}

function exhausted(taken: number): MatcherError {
  return new MatcherError(
    'DATABASE_CONNECTIONS_EXHAUSTED',
    `All ${taken} connections that this process may have to the tenant’s database server are in use`,
    {
      hint: 'Raise POSTGRES_MAX_OPEN_CONNS or MULTI_TENANT_MAX_TENANT_POOLS along with the server’s max_connections, lower the tenants’ maxOpenConns, or start more processes.',
      remedy: 'not-now',
    },
  );
}
