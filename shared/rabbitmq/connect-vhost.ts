import type { Duplex } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { type ChannelModel, connect } from 'amqplib';
import { pemOf } from '../tenancy/certificates.ts';
import type { RabbitmqTarget } from '../tenancy/tenant-config.ts';

/** A broker that says nothing for twice as long (s) counts as gone. */
const heartbeatSec = 10;
const connectTimeout = 10_000;

/** How long (ms) a broker may take to say goodbye. */
const closeTimeout = 5000;

/** A connection to a vhost as its target describes it, with TLS where it says so, and the certificate checked. */
export function connectVhost(target: RabbitmqTarget, name: string, timeoutMs = connectTimeout): Promise<ChannelModel> {
  const { host, port, vhost, user, password, tls, tlsCAFile } = target;
  return connect(
    {
      protocol: tls ? 'amqps' : 'amqp',
      hostname: host,
      port,
      vhost,
      username: user,
      password,
      heartbeat: heartbeatSec,
    },
    {
      // Nagle's algorithm would hold a publish back behind an unacknowledged frame.
      noDelay: true,
      timeout: timeoutMs,
      clientProperties: { connection_name: name },
      ...(tls && tlsCAFile ? { ca: pemOf('tlsCAFile', tlsCAFile) } : {}),
    },
  );
}

/** Closes a connection; one whose broker does not answer is dropped. (amqplib waits for its answer, and does not notice when none can come any more.) */
export async function closeConnection(model: ChannelModel): Promise<void> {
  const gone = new Promise((resolve) => model.once('close', resolve));
  // One that is closed already says so by an error.
  await settledWithin(closeTimeout, Promise.race([model.close().catch(() => {}), gone]));
  (model.connection as unknown as { stream: Duplex }).stream.destroy();
}

/** Waits until a promise has settled in whatever way, at most so many milliseconds. */
export async function settledWithin(ms: number, promise: Promise<unknown>): Promise<void> {
  const settled = new AbortController();
  const late = delay(ms, undefined, { signal: settled.signal }).catch(() => {});
  await Promise.race([promise.catch(() => {}), late]);
  settled.abort();
}
