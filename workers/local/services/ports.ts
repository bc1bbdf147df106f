import { connect, createServer, type Server } from 'node:net';

/** Ports on the loopback interface that nobody listens on at this moment. */
export async function freePorts<Names extends string>(...names: Names[]): Promise<Record<Names, number>> {
  // All of them are held until the last one is known, so that no two are the same.
  const servers = await Promise.all(names.map(() => listen()));
  const ports = servers.map((server) => {
    const address = server.address();
    return typeof address === 'object' && address ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return Object.fromEntries(names.map((name, index) => [name, ports[index]])) as Record<Names, number>;
}

function listen(): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

/** Resolves when somebody accepts a connection on the port, rejects otherwise. */
export function accepts(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1');
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.destroy();
      resolve();
    });
  });
}

/** How the servers say that a port is taken; Erlang has three ways, one for each of its ports. */
const portTaken = /already in use|could not bind|eaddrinuse|dist_port_already_used|nodistribution|epmd ended/i;

/** Somebody else can take a port between the moment we found it free and the moment the server opens it: try once more. */
export async function withFreshPorts<T>(start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    if (!portTaken.test(String(error))) throw error;
    return start();
  }
}
