import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checks, nodeOfRabbitmq } from './checks.ts';
import { type Environment, rabbitmqEnvironment, ServicesError } from './environment.ts';
import { program, rabbitmqServer } from './packages.ts';
import { accepts, freePorts } from './ports.ts';
import { emptyFolder, handOver, type Server, type Supervisor } from './supervisor.ts';

const user = 'rabbitmq';

/** A broker that keeps its data and ports when it is started again. */
export interface RabbitmqNode {
  environment: Environment;
  /** Starts it, and returns when it answers. */
  run(): Promise<Server>;
}

export async function startRabbitmq(supervisor: Supervisor, parent: string, password: string): Promise<Environment> {
  const { environment, run } = await prepareRabbitmq(supervisor, parent, password);
  await run();
  return environment;
}

/** A broker's folder and ports, and the name server that it needs, which runs from now on. */
export async function prepareRabbitmq(supervisor: Supervisor, parent: string, password: string): Promise<RabbitmqNode> {
  const folder = await emptyFolder(user, join(parent, 'rabbitmq'));
  const ports = await freePorts('amqp', 'management', 'distribution', 'epmd');
  const node = `matcher-${randomBytes(6).toString('hex')}@localhost`;
  const files = {
    'rabbitmq.conf': settings(ports, password),
    enabled_plugins: '[rabbitmq_management].\n',
    // Erlang nodes with the same cookie may command each other, so this one must not be anybody's default.
    '.erlang.cookie': randomBytes(24).toString('hex'),
  };
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), content, { mode: 0o400 });
    handOver(user, join(folder, name));
  }
  const epmdEnvironment = { ERL_EPMD_PORT: String(ports.epmd), ERL_EPMD_ADDRESS: '127.0.0.1' };
  // Erlang would start this name server itself, as a daemon that outlives the broker.
  const epmd = supervisor.start('epmd', {
    command: program('epmd') ?? 'epmd',
    args: [],
    user,
    folder,
    env: epmdEnvironment,
  });
  await supervisor.ready(epmd, () => accepts(ports.epmd));
  const environment = rabbitmqEnvironment({
    host: '127.0.0.1',
    port: ports.amqp,
    user: 'matcher',
    password,
    vhost: '/',
    managementUrl: `http://127.0.0.1:${ports.management}`,
  });
  const run = async () => {
    const server = supervisor.start('rabbitmq', {
      command: rabbitmqServer() ?? 'rabbitmq-server',
      args: [],
      user,
      folder,
      stopSignal: 'SIGKILL',
      env: {
        ...epmdEnvironment,
        RABBITMQ_NODENAME: node,
        RABBITMQ_DIST_PORT: String(ports.distribution),
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
        RABBITMQ_MNESIA_BASE: join(folder, 'mnesia'),
        RABBITMQ_LOG_BASE: join(folder, 'log'),
        RABBITMQ_CONFIG_FILE: join(folder, 'rabbitmq.conf'),
        RABBITMQ_CONFIG_FILES: join(folder, 'conf.d'),
        RABBITMQ_ADVANCED_CONFIG_FILE: join(folder, 'advanced.config'),
        RABBITMQ_CONF_ENV_FILE: join(folder, 'rabbitmq-env.conf'),
        RABBITMQ_ENABLED_PLUGINS_FILE: join(folder, 'enabled_plugins'),
        RABBITMQ_PID_FILE: join(folder, 'pid'),
        // As under systemd the script then becomes the broker instead of waiting beside it: one process to end.
        RUNNING_UNDER_SYSTEMD: 'true',
      },
    });
    await supervisor.ready(server, async () => {
      const answering = await nodeOfRabbitmq(environment);
      if (answering !== node) throw new ServicesError(`port ${ports.management} is already in use by ${answering}`);
      await checks.rabbitmq(environment);
    });
    return server;
  };
  return { environment, run };
}

const settings = (ports: { amqp: number; management: number }, password: string) => `
listeners.tcp.local = 127.0.0.1:${ports.amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = ${ports.management}
default_user = matcher
default_pass = ${password}
log.console = true
log.console.level = warning
log.file = false
`;
