import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * - `forward`: as if it were not there.
 * - `swallow`: connections are taken and what they say goes nowhere: a black hole.
 * - `refuse`: new connections are closed at once.
 */
export type ProxyMode = 'forward' | 'swallow' | 'refuse';

/** Stands between a client and a server, and misbehaves on request. */
export interface TcpProxy {
  readonly port: number;
  /** How many connections are open through it. */
  readonly connections: number;
  /** Applies to bytes from now on, of connections that are open, too. */
  mode: ProxyMode;
  /** Milliseconds by which everything is held back. */
  delay: number;
  /** Ends every open connection, in an orderly way or by a reset. */
  cut(how?: 'end' | 'reset'): void;
  close(): Promise<void>;
}

export async function startTcpProxy(host: string, port: number): Promise<TcpProxy> {
  const pairs = new Set<[Socket, Socket]>();
  const server: Server = createServer({ noDelay: true }, (client) => {
    if (proxy.mode === 'refuse') {
      client.destroy();
      return;
    }
    const upstream = connect({ host, port, noDelay: true });
    const pair: [Socket, Socket] = [client, upstream];
    pairs.add(pair);
    for (const [from, to] of [pair, pair.toReversed() as [Socket, Socket]]) {
      from.on('data', (chunk) => pass(from, to, chunk));
      from.on('error', () => to.destroy());
      from.on('close', () => {
        to.destroy();
        pairs.delete(pair);
      });
    }
  });

  function pass(from: Socket, to: Socket, chunk: Buffer): void {
    if (proxy.mode === 'swallow') return;
    if (proxy.delay > 0) setTimeout(() => to.write(chunk), proxy.delay);
    else if (!to.write(chunk)) {
      from.pause();
      to.once('drain', () => from.resume());
    }
  }

  const proxy: TcpProxy = {
    get port() {
      return (server.address() as AddressInfo).port;
    },
    get connections() {
      return pairs.size;
    },
    mode: 'forward',
    delay: 0,
    cut(how = 'end') {
      for (const [client, upstream] of pairs) {
        if (how === 'reset') client.resetAndDestroy();
        else client.destroy();
        upstream.destroy();
      }
    },
    async close() {
      proxy.cut();
      await new Promise((closed) => server.close(closed));
    },
  };
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', listening);
  });
  return proxy;
}
