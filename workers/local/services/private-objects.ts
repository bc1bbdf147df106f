import { randomBytes } from 'node:crypto';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checks, ownerOfBuckets } from './checks.ts';
import { type Environment, objectsEnvironment, ServicesError } from './environment.ts';
import { program, systemPython } from './packages.ts';
import { accepts, freePorts } from './ports.ts';
import { emptyFolder, handOver, type Supervisor } from './supervisor.ts';

const user = 'swift';
const storageServers = ['account', 'container', 'object'] as const;

/**
 * An S3 server: OpenStack Swift with one device and its S3 middleware. Three storage servers keep the data, the proxy
 * speaks S3, and memcached remembers for the proxy what exists (its authentication refuses to work without).
 */
export async function startObjects(supervisor: Supervisor, parent: string, secret: string): Promise<Environment> {
  const folder = await emptyFolder(user, join(parent, 'objects'));
  const ports = await freePorts('proxy', 'memcached', ...storageServers);
  // A name that no other server knows, so that the answer shows whose it is.
  const account = `matcher${randomBytes(6).toString('hex')}`;
  prepareFolder(folder, {
    'swift.conf': `[swift-hash]\nswift_hash_path_suffix = ${randomBytes(12).toString('hex')}\n`,
    'proxy-server.conf': proxySettings(folder, ports, account, secret),
    ...Object.fromEntries(storageServers.map((kind) => [`${kind}-server.conf`, storageSettings(folder, kind, ports)])),
  });
  const memcached = supervisor.start('memcached', {
    command: program('memcached') ?? 'memcached',
    args: ['-l', '127.0.0.1', '-p', String(ports.memcached), '-U', '0', '-m', '32', '-t', '1'],
    user,
    folder,
    stopSignal: 'SIGKILL',
  });
  const swift = supervisor.start('swift', {
    command: systemPython() ?? 'python3',
    args: [join(folder, 'run-swift.py'), folder, ...storageServers.map((kind) => String(ports[kind]))],
    user,
    folder,
    stopSignal: 'SIGKILL',
  });
  await supervisor.ready(memcached, () => accepts(ports.memcached));
  const environment = objectsEnvironment({
    endpoint: `http://127.0.0.1:${ports.proxy}`,
    region: 'us-east-1',
    bucket: 'matcher',
    accessKeyId: `${account}:worker`,
    secretAccessKey: secret,
  });
  await supervisor.ready(swift, async () => {
    for (const kind of [...storageServers, 'proxy' as const]) await accepts(ports[kind]);
    const owner = await ownerOfBuckets(environment);
    if (!owner.startsWith(account)) {
      throw new ServicesError(`port ${ports.proxy} is already in use by another S3 server (of ${owner})`);
    }
    await checks.objects(environment);
  });
  return environment;
}

function prepareFolder(folder: string, files: Record<string, string>): void {
  for (const path of [join(folder, 'devices'), join(folder, 'devices', 'disk')]) {
    mkdirSync(path, { mode: 0o700 });
    handOver(user, path);
  }
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), content, { mode: 0o600 });
    handOver(user, join(folder, name));
  }
  // A copy, because the system user that runs it may not be able to read the folder that this repository lies in.
  copyFileSync(join(import.meta.dirname, 'run-swift.py'), join(folder, 'run-swift.py'));
}

type Ports = Record<'proxy' | 'memcached' | (typeof storageServers)[number], number>;

// The timeouts are far longer than Swift's defaults: on a busy machine those would lose updates of the listings, because
// the daemons that catch up on them later do not run here.
const common = (folder: string, port: number) => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
workers = 0
bind_timeout = 1
swift_dir = ${folder}
devices = ${join(folder, 'devices')}
mount_check = false
disable_fallocate = true
log_level = WARNING
conn_timeout = 10
node_timeout = 60
container_update_timeout = 60
`;

const storageSettings = (folder: string, kind: (typeof storageServers)[number], ports: Ports) => `
${common(folder, ports[kind])}
[pipeline:main]
pipeline = ${kind}-server
[app:${kind}-server]
use = egg:swift#${kind}
`;

const proxySettings = (folder: string, ports: Ports, account: string, secret: string) => `
${common(folder, ports.proxy)}
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 60
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${ports.memcached}
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
max_upload_part_num = 10000
[filter:tempauth]
use = egg:swift#tempauth
user_${account}_worker = ${secret} .admin
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
[filter:dlo]
use = egg:swift#dlo
`;
