import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Stands between an AMQP 0-9-1 client and its broker, and makes consumers deaf: subscribed as far as they know, with no consumer at the broker. */
export interface AmqpProxy {
  readonly port: number;
  /** Connections that were made, ever. */
  readonly connections: number;
  /** Subscriptions that came, ever. */
  readonly subscriptions: number;
  /** Whether the `n`th subscription (from 1) on the `m`th connection (from 1) is deaf from its beginning. */
  deaf: (n: number, m: number) => boolean;
  close(): Promise<void>;
}

const methodFrame = 1;
const frameEnd = 0xce;
const [basic, consume, consumeOk] = [60, 20, 21];

export async function startAmqpProxy(host: string, port: number): Promise<AmqpProxy> {
  const sockets = new Set<Socket>();
  let connections = 0;
  let subscriptions = 0;
  const server = createServer({ noDelay: true }, (client) => {
    const connection = ++connections;
    const broker = connect({ host, port, noDelay: true });
    let ofConnection = 0;
    for (const socket of [client, broker]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => sockets.delete(socket));
    }
    client.on('close', () => broker.destroy());
    broker.on('close', () => client.destroy());
    broker.pipe(client);
    // The protocol header is eight bytes; frames follow.
    let rest = Buffer.alloc(0);
    let begun = false;
    client.on('data', (chunk) => {
      rest = Buffer.concat([rest, chunk]);
      if (!begun && rest.length >= 8) {
        begun = true;
        broker.write(rest.subarray(0, 8));
        rest = rest.subarray(8);
      }
      for (;;) {
        const length = rest.length < 7 ? Number.POSITIVE_INFINITY : rest.readUInt32BE(3) + 8;
        if (!begun || rest.length < length) return;
        const frame = rest.subarray(0, length);
        rest = rest.subarray(length);
        if (!isConsume(frame)) broker.write(frame);
        else {
          subscriptions++;
          if (proxy.deaf(++ofConnection, connection)) client.write(forgedConsumeOk(frame, `deaf-${subscriptions}`));
          else broker.write(frame);
        }
      }
    });
  });
  const proxy: AmqpProxy = {
    get port() {
      return (server.address() as AddressInfo).port;
    },
    get connections() {
      return connections;
    },
    get subscriptions() {
      return subscriptions;
    },
    deaf: () => false,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((closed) => server.close(closed));
    },
  };
  await new Promise<void>((listening, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', listening);
  });
  return proxy;
}

function isConsume(frame: Buffer): boolean {
  return frame[0] === methodFrame && frame.readUInt16BE(7) === basic && frame.readUInt16BE(9) === consume;
}

/** What the broker would have said, on the same channel. */
function forgedConsumeOk(frame: Buffer, tag: string): Buffer {
  const payload = Buffer.from([0, basic, 0, consumeOk, tag.length, ...Buffer.from(tag)]);
  const header = Buffer.alloc(7);
  header[0] = methodFrame;
  frame.copy(header, 1, 1, 3);
  header.writeUInt32BE(payload.length, 3);
  return Buffer.concat([header, payload, Buffer.from([frameEnd])]);
}
