import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

/**
 * - `forward`: as if it were not there.
 * - `swallow`: connections are taken and what they say goes nowhere: a black hole. `swallow-requests` and `swallow-answers` are holes in one
 *   direction. A connection that has lost a byte loses all that follow, its end included, as it would between real hosts: what comes after a gap is never
 *   delivered.
 * - `refuse`: new connections are closed at once.
 */
export type ProxyMode = 'forward' | 'swallow' | 'swallow-requests' | 'swallow-answers' | 'refuse';

export type Side = 'client' | 'server';

/** Stands between a client and a server, and misbehaves on request. */
export interface TcpProxy {
  readonly port: number;
  /** How many connections are open through it. */
  readonly connections: number;
  /** What its misbehaviour has hit so far: connections refused and cut, and pieces of data swallowed. */
  readonly hits: { refused: number; cut: number; swallowed: number };
  /** Applies to bytes from now on, of connections that are open, too. */
  mode: ProxyMode;
  /** Milliseconds by which everything is held back. */
  delay: number;
  /** Called with everything that comes in, before it is passed on: what it changes here counts for this piece already. */
  watch: ((chunk: Buffer, from: Side) => void) | undefined;
  /** Ends every open connection, in an orderly way or by a reset. */
  cut(how?: 'end' | 'reset'): void;
  close(): Promise<void>;
}

export async function startTcpProxy(host: string, port: number): Promise<TcpProxy> {
  const pairs = new Set<[Socket, Socket]>();
  /** Those whose bytes have a gap. */
  const broken = new WeakSet<Socket>();
  const server: Server = createServer({ noDelay: true }, (client) => {
    if (proxy.mode === 'refuse') {
      proxy.hits.refused++;
      client.destroy();
      return;
    }
    const upstream = connect({ host, port, noDelay: true });
    const pair: [Socket, Socket] = [client, upstream];
    pairs.add(pair);
    const ways: [Socket, Socket, Side][] = [
      [client, upstream, 'client'],
      [upstream, client, 'server'],
    ];
    for (const [from, to, side] of ways) {
      from.on('data', (chunk) => pass(from, to, chunk, side));
      from.on('error', () => {});
      from.on('close', () => {
        if (!isLost(from, side)) to.destroy();
        if (to.destroyed) pairs.delete(pair);
      });
    }
  });

  /** Whether what comes from there now is lost; from then on, everything is. */
  function isLost(from: Socket, side: Side): boolean {
    const { mode } = proxy;
    if (mode === 'swallow' || mode === (side === 'client' ? 'swallow-requests' : 'swallow-answers')) broken.add(from);
    return broken.has(from);
  }

  function pass(from: Socket, to: Socket, chunk: Buffer, side: Side): void {
    proxy.watch?.(chunk, side);
    if (isLost(from, side)) {
      proxy.hits.swallowed++;
      return;
    }
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
    hits: { refused: 0, cut: 0, swallowed: 0 },
    mode: 'forward',
    delay: 0,
    watch: undefined,
    cut(how = 'end') {
      for (const [client, upstream] of pairs) {
        proxy.hits.cut++;
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
