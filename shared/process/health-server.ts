import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { splitAddress } from '../config/kinds.ts';

export interface Readiness {
  ready: boolean;
  [detail: string]: unknown;
}

export interface HealthServer {
  port: number;
  close(): Promise<void>;
}

/** Serves `/health` (the process is alive) and `/ready` (it does its work now), for whoever supervises it. */
export async function serveHealth(address: string, readiness: () => Readiness): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    const [status, body] =
      path === '/health'
        ? [200, { status: 'ok' }]
        : path === '/ready'
          ? readyAnswer(readiness())
          : [404, { code: 'NOT_FOUND', error: 'There is /health and /ready' }];
    response.writeHead(status as number, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  });
  const { host, port } = splitAddress(address);
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once('error', reject);
  server.listen(port, host === '' ? undefined : host, resolve);
  await promise;
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.closeAllConnections();
      await new Promise((closed) => server.close(closed));
    },
  };
}

function readyAnswer(now: Readiness): [number, Readiness] {
  return [now.ready ? 200 : 503, now];
}
