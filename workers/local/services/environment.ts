/** The services a deployment needs, and the environment variables through which every process learns where they are. */

export const serviceNames = ['postgres', 'redis', 'rabbitmq', 'objects'] as const;
export type ServiceName = (typeof serviceNames)[number];
export type Environment = Record<string, string>;

export const serviceTitles: Record<ServiceName, string> = {
  postgres: 'PostgreSQL',
  redis: 'Redis',
  rabbitmq: 'RabbitMQ',
  objects: 'the S3 server',
};

/** A service counts as given when this variable is set; the others of its group have defaults. */
export const addressVariables: Record<ServiceName, string> = {
  postgres: 'POSTGRES_HOST',
  redis: 'REDIS_HOST',
  rabbitmq: 'RABBITMQ_HOST',
  objects: 'OBJECT_STORAGE_ENDPOINT',
};

/** What went wrong and what to do about it, in a message that is meant to be printed without a stack. */
export class ServicesError extends Error {
  override readonly name = 'ServicesError';
  readonly code = 'SERVICES_UNAVAILABLE';
}

/** Beyond REDIS_HOST and REDIS_PASSWORD: tenant events may come from a server of their own, and either may want TLS. */
const redisOverrides = [
  'REDIS_TLS',
  'MULTI_TENANT_REDIS_HOST',
  'MULTI_TENANT_REDIS_PORT',
  'MULTI_TENANT_REDIS_PASSWORD',
  'MULTI_TENANT_REDIS_TLS',
];

type Given = Readonly<Record<string, string | undefined>>;

const complete: Record<ServiceName, (given: Given) => Environment> = {
  postgres: (given) =>
    postgresEnvironment({
      host: given.POSTGRES_HOST || '127.0.0.1',
      port: given.POSTGRES_PORT || 5432,
      user: given.POSTGRES_USER || 'postgres',
      password: given.POSTGRES_PASSWORD ?? '',
      database: given.POSTGRES_DB || given.POSTGRES_USER || 'postgres',
      sslMode: given.POSTGRES_SSLMODE || 'disable',
    }),
  redis: (given) => {
    const [host = '', port = '6379'] = splitHostPort(given.REDIS_HOST || '127.0.0.1');
    const environment = redisEnvironment({ host, port, password: given.REDIS_PASSWORD ?? '' });
    for (const name of redisOverrides) {
      const value = given[name];
      if (value !== undefined) environment[name] = value;
    }
    return environment;
  },
  rabbitmq: (given) =>
    rabbitmqEnvironment({
      host: given.RABBITMQ_HOST || '127.0.0.1',
      port: given.RABBITMQ_PORT || 5672,
      user: given.RABBITMQ_USER || 'guest',
      password: given.RABBITMQ_PASSWORD ?? 'guest',
      vhost: given.RABBITMQ_VHOST || '/',
      managementUrl: given.RABBITMQ_MANAGEMENT_URL || `http://${given.RABBITMQ_HOST || '127.0.0.1'}:15672`,
    }),
  objects: (given) =>
    objectsEnvironment({
      endpoint: given.OBJECT_STORAGE_ENDPOINT || '',
      region: given.OBJECT_STORAGE_REGION || 'us-east-1',
      bucket: given.OBJECT_STORAGE_BUCKET || 'matcher',
      accessKeyId: given.OBJECT_STORAGE_ACCESS_KEY_ID ?? '',
      secretAccessKey: given.OBJECT_STORAGE_SECRET_ACCESS_KEY ?? '',
      usePathStyle: given.OBJECT_STORAGE_USE_PATH_STYLE || 'true',
    }),
};

/** The complete variables of a service whose address is given, or undefined when it is not. */
export function givenService(name: ServiceName, given: Given): Environment | undefined {
  return given[addressVariables[name]] ? complete[name](given) : undefined;
}

export function postgresEnvironment(server: {
  host: string;
  port: number | string;
  user: string;
  password: string;
  database: string;
  sslMode?: string;
}): Environment {
  return {
    POSTGRES_HOST: server.host,
    POSTGRES_PORT: String(server.port),
    POSTGRES_USER: server.user,
    POSTGRES_PASSWORD: server.password,
    POSTGRES_DB: server.database,
    POSTGRES_SSLMODE: server.sslMode ?? 'disable',
  };
}

/** One Redis server for both: the fleet's keys and the tenant events. */
export function redisEnvironment(server: { host: string; port: number | string; password: string }): Environment {
  return {
    REDIS_HOST: `${server.host}:${server.port}`,
    REDIS_PASSWORD: server.password,
    MULTI_TENANT_REDIS_HOST: server.host,
    MULTI_TENANT_REDIS_PORT: String(server.port),
    MULTI_TENANT_REDIS_PASSWORD: server.password,
  };
}

export function rabbitmqEnvironment(server: {
  host: string;
  port: number | string;
  user: string;
  password: string;
  vhost: string;
  managementUrl: string;
}): Environment {
  return {
    RABBITMQ_HOST: server.host,
    RABBITMQ_PORT: String(server.port),
    RABBITMQ_USER: server.user,
    RABBITMQ_PASSWORD: server.password,
    RABBITMQ_VHOST: server.vhost,
    RABBITMQ_MANAGEMENT_URL: server.managementUrl,
  };
}

export function objectsEnvironment(server: {
  endpoint: string;
  region: string;
  bucket: string;
  accessKeyId: string;
  secretAccessKey: string;
  usePathStyle?: string;
}): Environment {
  return {
    OBJECT_STORAGE_ENDPOINT: server.endpoint,
    OBJECT_STORAGE_REGION: server.region,
    OBJECT_STORAGE_BUCKET: server.bucket,
    OBJECT_STORAGE_ACCESS_KEY_ID: server.accessKeyId,
    OBJECT_STORAGE_SECRET_ACCESS_KEY: server.secretAccessKey,
    OBJECT_STORAGE_USE_PATH_STYLE: server.usePathStyle ?? 'true',
  };
}

/** Splits `host`, `host:port` and `[v6]:port`. */
export function splitHostPort(address: string): [host: string, port: string | undefined] {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d+))?$/.exec(address);
  return match ? [match[1] ?? match[2] ?? address, match[3]] : [address, undefined];
}
