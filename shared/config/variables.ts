import { type JobType, jobTypes } from '../jobs/contracts/job-types.ts';
import { tryCanonicalTenantId } from '../tenancy/tenant-id.ts';
import { address, bool, int, numbersByName, port, seconds, string, url, type Variable } from './kinds.ts';

/** TLS towards PostgreSQL. libpq's `prefer` and `allow`, which may end up without, are not taken. */
export const sslModes: readonly string[] = ['disable', 'require', 'verify-ca', 'verify-full'];

/** Seconds that an attempt at a job may take. */
const deadlines: Record<JobType, number> = {
  'context.apply': 300,
  'ingestion.run': 3600,
  'matching.run': 7200,
  'matching.confirm': 300,
  'matching.reject': 300,
  'matching.revoke': 300,
  'matching.manual': 300,
  'export.run': 3600,
};

/**
 * Every environment variable that a process of this product reads. The names and defaults are the interface that
 * existing deployments configure; a new one is added here and nowhere else.
 */
export const variables = {
  ENV_NAME: string({ default: 'development', about: 'Name of the deployment, carried by every log line.' }),
  LOG_LEVEL: string({
    default: 'info',
    oneOf: ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
    about: 'Least severe log line that is written.',
  }),
  SERVER_ADDRESS: address({
    default: ':4018',
    about:
      'Where the process serves /health, /ready and /metrics, and the Tenant Manager its API; several on one host need one each.',
  }),

  MULTI_TENANT_ENABLED: bool({ default: false, about: 'Master switch for multi-tenant mode.' }),
  MULTI_TENANT_URL: url({ default: undefined, about: 'Base URL of the Tenant Manager service.' }),
  MULTI_TENANT_SERVICE_API_KEY: string({
    default: undefined,
    secret: true,
    about: 'API key for authenticating with the Tenant Manager.',
  }),
  MULTI_TENANT_ALLOW_INSECURE_HTTP: bool({
    default: false,
    about: 'Allow plain http to a Tenant Manager, Fetcher or authorization service that is not on this machine.',
  }),
  MULTI_TENANT_ENVIRONMENT: string({
    default: undefined,
    about: 'Environment label: names the channel of tenant events and the path of secrets.',
  }),
  MULTI_TENANT_MAX_TENANT_POOLS: int({
    default: 100,
    min: 1,
    about:
      'Maximum concurrent tenant connection pools. With more active tenants than that, they are shared out over the processes of a kind.',
  }),
  MULTI_TENANT_IDLE_TIMEOUT_SEC: seconds({
    default: 300,
    min: 1,
    about: 'Seconds before an idle tenant pool is evicted.',
  }),
  MULTI_TENANT_TIMEOUT: seconds({ default: 30, min: 1, about: 'HTTP timeout (seconds) for Tenant Manager API calls.' }),
  MULTI_TENANT_CIRCUIT_BREAKER_THRESHOLD: int({
    default: 5,
    min: 1,
    about: 'Consecutive failures of the Tenant Manager before its circuit breaker opens.',
  }),
  MULTI_TENANT_CIRCUIT_BREAKER_TIMEOUT_SEC: seconds({
    default: 30,
    min: 1,
    about: 'Seconds the circuit breaker stays open before one probe is let through.',
  }),
  MULTI_TENANT_CACHE_TTL_SEC: seconds({
    default: 120,
    min: 1,
    about: 'How long (seconds) tenant config is cached before refreshing from the Tenant Manager.',
  }),
  MULTI_TENANT_CONNECTIONS_CHECK_INTERVAL_SEC: seconds({
    default: 30,
    min: 1,
    about:
      'Interval (seconds) at which open pools and connections are compared with their tenants’ configuration, and what is running with the list of active tenants.',
  }),
  MULTI_TENANT_REDIS_HOST: string({ default: undefined, about: 'Redis host for event-driven tenant discovery.' }),
  MULTI_TENANT_REDIS_PORT: port({ default: 6379, about: 'Redis port for tenant discovery.' }),
  MULTI_TENANT_REDIS_PASSWORD: string({
    default: undefined,
    secret: true,
    about: 'Redis password for tenant discovery.',
  }),
  MULTI_TENANT_REDIS_TLS: bool({ default: false, about: 'Enable TLS for tenant discovery Redis.' }),
  DEFAULT_TENANT_ID: string({
    default: '11111111-1111-1111-1111-111111111111',
    about: 'The one tenant of single-tenant mode.',
  }),
  DEFAULT_TENANT_SLUG: string({ default: 'default', about: 'Slug of the one tenant of single-tenant mode.' }),

  FETCHER_ENABLED: bool({ default: false, about: 'Whether the Fetcher service is called.' }),
  FETCHER_URL: url({
    default: undefined,
    about: 'Base URL of the Fetcher, unless a tenant’s secret names another; required with FETCHER_ENABLED.',
  }),
  PLUGIN_AUTH_ADDRESS: url({
    default: undefined,
    about:
      'Base URL of the authorization service, which gives machine-to-machine tokens; required with FETCHER_ENABLED in multi-tenant mode.',
  }),
  M2M_TARGET_SERVICE: string({ default: 'fetcher', about: 'Target service name for credential lookup.' }),
  M2M_CREDENTIAL_CACHE_TTL_SEC: seconds({
    default: 300,
    min: 1,
    about: 'Redis cache TTL (seconds) for machine-to-machine credentials, which are encrypted there.',
  }),
  AWS_REGION: string({
    default: undefined,
    about:
      'AWS region of Secrets Manager; required with FETCHER_ENABLED in multi-tenant mode. Credentials come from the AWS SDK’s own chain.',
  }),
  AWS_ENDPOINT_URL_SECRETS_MANAGER: url({
    default: undefined,
    about: 'Secrets Manager at another address than AWS’s, by the AWS SDK’s own name for it.',
  }),

  POSTGRES_HOST: string({ default: undefined, about: 'PostgreSQL of single-tenant mode and of the Tenant Manager.' }),
  POSTGRES_PORT: port({ default: 5432, about: 'PostgreSQL port.' }),
  POSTGRES_USER: string({ default: undefined, about: 'PostgreSQL role.' }),
  POSTGRES_PASSWORD: string({ default: undefined, secret: true, about: 'Password of the PostgreSQL role.' }),
  POSTGRES_DB: string({ default: undefined, about: 'PostgreSQL database.' }),
  POSTGRES_SSLMODE: string({
    default: 'require',
    oneOf: sslModes,
    about: 'TLS towards PostgreSQL; "disable" has to be asked for.',
  }),
  POSTGRES_MAX_OPEN_CONNS: int({ default: 25, min: 2, about: 'Connections of one tenant pool at most.' }),
  POSTGRES_MAX_IDLE_CONNS: int({ default: 5, min: 0, about: 'Connections a tenant pool keeps open without work.' }),
  POSTGRES_CONNECT_TIMEOUT_SEC: seconds({ default: 10, min: 1, about: 'Seconds for a connection to PostgreSQL.' }),
  POSTGRES_QUERY_TIMEOUT_SEC: seconds({ default: 30, min: 1, about: 'Seconds for a query that is no bulk work.' }),

  REDIS_HOST: address({ default: undefined, about: 'Redis (host:port) of the tenants’ key spaces.' }),
  REDIS_PASSWORD: string({ default: undefined, secret: true, about: 'Password of that Redis.' }),
  REDIS_DB: int({ default: 0, min: 0, about: 'Database number in that Redis.' }),
  REDIS_TLS: bool({ default: false, about: 'TLS towards that Redis.' }),

  RABBITMQ_HOST: string({ default: undefined, about: 'RabbitMQ of single-tenant mode and of the Tenant Manager.' }),
  RABBITMQ_PORT: port({ default: 5672, about: 'RabbitMQ port.' }),
  RABBITMQ_USER: string({ default: undefined, about: 'RabbitMQ user.' }),
  RABBITMQ_PASSWORD: string({ default: undefined, secret: true, about: 'Password of the RabbitMQ user.' }),
  RABBITMQ_VHOST: string({ default: '/', about: 'RabbitMQ vhost of single-tenant mode.' }),
  RABBITMQ_MANAGEMENT_URL: url({
    default: undefined,
    about: 'Management API with which the Tenant Manager creates vhosts and users.',
  }),

  OBJECT_STORAGE_ENDPOINT: url({ default: undefined, about: 'S3 endpoint; absent means AWS.' }),
  OBJECT_STORAGE_REGION: string({ default: 'us-east-1', about: 'S3 region.' }),
  OBJECT_STORAGE_BUCKET: string({ default: undefined, about: 'Bucket that holds every tenant under its prefix.' }),
  OBJECT_STORAGE_ACCESS_KEY_ID: string({
    default: undefined,
    secret: true,
    about: 'S3 access key; absent means the AWS SDK’s own chain of credentials.',
  }),
  OBJECT_STORAGE_SECRET_ACCESS_KEY: string({ default: undefined, secret: true, about: 'S3 secret key.' }),
  OBJECT_STORAGE_USE_PATH_STYLE: bool({ default: true, about: 'Bucket in the path instead of the host name.' }),

  EXPORT_PRESIGN_EXPIRY_SEC: seconds({
    default: 3600,
    min: 1,
    max: 604_800,
    about: 'How long (seconds) the link to an export works.',
  }),
  JOB_SLOTS: int({ default: 4, min: 1, max: 1000, about: 'Jobs that one process works on at the same time.' }),
  JOB_SLOTS_PER_TENANT: int({
    default: 0,
    min: 0,
    max: 1000,
    about: 'Slots that one tenant’s jobs may hold at most; 0: all but one.',
  }),
  JOB_TENANT_WEIGHTS: numbersByName({
    default: {},
    max: 1000,
    names: 'a tenant’s slug or id',
    nameOf: tryCanonicalTenantId,
    about:
      'Shares of the slots where several tenants wait: slug or id, =, weight, separated by commas (acme=3,1848046459ab48eab0dba5ca252474af=2); others have 1.',
  }),
  JOB_MAX_ATTEMPTS: int({ default: 5, min: 1, max: 100, about: 'Attempts at a job before it is a dead letter.' }),
  JOB_LEASE_SEC: seconds({
    default: 15,
    min: 3,
    about: 'How long (seconds) a job stays with a process that stopped renewing its claim.',
  }),
  JOB_DEADLINES: numbersByName({
    default: deadlines,
    max: 2_147_483,
    names: `one of ${jobTypes.join(', ')}`,
    nameOf: (text) => jobTypes.find((type) => type === text),
    about: 'Longest time (seconds) an attempt at a job may take, by job type; one that is not named keeps its default.',
  }),
  JOB_PATIENCE_HOURS: int({
    default: 24,
    min: 1,
    max: 8760,
    about: 'How long (hours) a job may be put off for something that is away before it fails.',
  }),
  JOB_RETENTION_DAYS: int({
    default: 30,
    min: 1,
    max: 36_500,
    about: 'How long (days) the records of finished jobs are kept.',
  }),
  IDEMPOTENCY_SUCCESS_TTL_HOURS: int({
    default: 168,
    min: 1,
    max: 87_600,
    about: 'How long (hours) an idempotency key is remembered.',
  }),
  MAINTENANCE_INTERVAL_SEC: seconds({
    default: 900,
    min: 1,
    about: 'How often (seconds) each tenant is looked after by the scheduler.',
  }),
  DRAIN_TIMEOUT_SEC: seconds({
    default: 25,
    min: 0,
    about: 'How long (seconds) running jobs may finish after SIGTERM.',
  }),
} satisfies Record<string, Variable<unknown>>;

type ValueOf<V> = V extends Variable<infer T> ? T : never;
export type VariableName = keyof typeof variables;

/** All settings by the variable's own name, so that what the operator wrote is what the code says. */
export type Settings = { readonly [K in VariableName]: ValueOf<(typeof variables)[K]> };
