import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { type CertificateExtension, generate } from 'selfsigned';

export interface TlsProxyOptions {
  /** `tls`: encrypted from the first byte, as Redis and RabbitMQ are; `postgres`: after the client has asked for it. Default: `tls`. */
  protocol?: 'tls' | 'postgres';
  /** Whom the server's certificate is made out to. Default: `localhost` and `127.0.0.1`. */
  names?: string[];
  /** Whether a client without a certificate of this proxy's authority is turned away. */
  demandClientCertificate?: boolean;
}

/** A certificate or a key: its text, and a file that holds it. */
export interface Pem {
  pem: string;
  file: string;
}

/** Stands before a server that speaks in the clear, and speaks TLS to its clients, with an authority of its own. */
export interface TlsProxy {
  /** `localhost`, which the default certificate is made out to. */
  readonly host: string;
  readonly port: number;
  /** The authority that has signed the server's and the client's certificate. */
  readonly ca: Pem;
  readonly clientCert: Pem;
  readonly clientKey: Pem;
  /** Encrypted connections that came into being, ever; refused handshakes don't count. */
  readonly handshakes: number;
  /** Clients that went on without encryption, or tried to; they are turned away. */
  readonly unencrypted: number;
  /** The common names of the clients' certificates, in order of coming. */
  readonly clients: string[];
  /** Ends every open connection. */
  cut(): void;
  close(): Promise<void>;
}

/** PostgreSQL's request for encryption: its length, and a protocol version that does not exist. */
const sslRequest = Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

/** @param host the server that speaks in the clear. */
export async function startTlsProxy(host: string, port: number, options: TlsProxyOptions = {}): Promise<TlsProxy> {
  const { protocol = 'tls', names = ['localhost', '127.0.0.1'], demandClientCertificate = false } = options;
  const authority = await sign('test authority', [
    { name: 'basicConstraints', cA: true, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
  ]);
  const server = await sign(
    names[0] as string,
    [
      { name: 'basicConstraints', cA: false },
      { name: 'extKeyUsage', serverAuth: true },
      { name: 'subjectAltName', altNames: names.map(altName) },
    ],
    authority,
  );
  const client = await sign('test client', [{ name: 'extKeyUsage', clientAuth: true }], authority);
  const folder = await mkdtemp(join(tmpdir(), 'tls-proxy-'));
  const inFile = async (name: string, pem: string): Promise<Pem> => {
    const file = join(folder, name);
    await writeFile(file, pem, { mode: 0o600 });
    return { pem, file };
  };

  const sockets = new Set<Socket>();
  const clients: string[] = [];
  let handshakes = 0;
  let unencrypted = 0;
  const keep = (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  };

  const encrypted = createTlsServer({
    cert: server.cert,
    key: server.private,
    ca: authority.cert,
    requestCert: demandClientCertificate,
    rejectUnauthorized: demandClientCertificate,
  });
  encrypted.on('secureConnection', (near: TLSSocket) => {
    handshakes++;
    const name = near.getPeerCertificate()?.subject?.CN;
    if (typeof name === 'string') clients.push(name);
    const far = connect({ host, port, noDelay: true });
    for (const socket of [near, far]) keep(socket);
    near.on('close', () => far.destroy());
    far.on('close', () => near.destroy());
    near.pipe(far).pipe(near);
  });
  const refused = (what: 'no encryption' | 'bad handshake', socket: Socket) => {
    if (what === 'no encryption') unencrypted++;
    socket.destroy();
  };
  encrypted.on('tlsClientError', (error, socket) => {
    const { code } = error as NodeJS.ErrnoException;
    // What is no TLS record at all: a client that speaks in the clear.
    const clear = code === 'ERR_SSL_HTTP_REQUEST' || code === 'ERR_SSL_WRONG_VERSION_NUMBER';
    refused(clear || code === 'ERR_SSL_PACKET_LENGTH_TOO_LONG' ? 'no encryption' : 'bad handshake', socket);
  });

  const entrance = createServer({ noDelay: true }, (socket) => {
    keep(socket);
    if (protocol === 'tls') {
      encrypted.emit('connection', socket);
      return;
    }
    socket.once('readable', () => {
      const request: Buffer | null = socket.read(sslRequest.length);
      if (!request?.equals(sslRequest)) {
        refused('no encryption', socket);
        return;
      }
      socket.write('S');
      encrypted.emit('connection', socket);
    });
  });
  await new Promise<void>((listening, failed) => {
    entrance.once('error', failed);
    entrance.listen(0, 'localhost', listening);
  });

  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    host: 'localhost',
    port: (entrance.address() as AddressInfo).port,
    ca: await inFile('ca.pem', authority.cert),
    clientCert: await inFile('client.pem', client.cert),
    clientKey: await inFile('client-key.pem', client.private),
    get handshakes() {
      return handshakes;
    },
    get unencrypted() {
      return unencrypted;
    },
    clients,
    cut,
    async close() {
      cut();
      await new Promise((closed) => entrance.close(closed));
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function sign(commonName: string, extensions: CertificateExtension[], authority?: { cert: string; private: string }) {
  return generate([{ name: 'commonName', value: commonName }], {
    keyType: 'ec',
    algorithm: 'sha256',
    extensions,
    ...(authority ? { ca: { cert: authority.cert, key: authority.private } } : {}),
  });
}

function altName(name: string) {
  return /^[\d.]+$|:/.test(name) ? { type: 7 as const, ip: name } : { type: 2 as const, value: name };
}
