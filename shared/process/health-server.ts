import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Registry } from 'prom-client';
import { splitAddress } from '../config/kinds.ts';

export interface Readiness {
  readonly ready: boolean;
  readonly [detail: string]: unknown;
}

export interface HealthServer {
  port: number;
  close(): Promise<void>;
}

/**
 * Serves `/health` (the process is alive), `/ready` (it does its work now) and `/metrics` (Prometheus' text format), for whoever supervises it.
 *
 * @param readiness is asked for each answer, and must cost nothing.
 */
export async function serveHealth(
  address: string,
  readiness: () => Readiness,
  metrics: Registry,
): Promise<HealthServer> {
  const server = createServer((request, response) => {
    const path = request.url?.split('?')[0];
    if (path === '/health') answer(response, 200, { status: 'ok' });
    else if (path === '/ready') {
      const now = readiness();
      answer(response, now.ready ? 200 : 503, now);
    } else if (path === '/metrics') {
      metrics.metrics().then(
        (text) => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
        () => answer(response, 500, { code: 'INTERNAL', error: 'The metrics could not be collected' }),
      );
    } else answer(response, 404, { code: 'NOT_FOUND', error: 'There is /health, /ready and /metrics' });
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

function answer(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
