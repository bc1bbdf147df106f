import { MatcherError } from '../errors.ts';
import { segmentProblem } from '../secrets/m2m-path.ts';
import { tryCanonicalTenantId } from '../tenancy/tenant-id.ts';
import { isLoopback, type Variable } from './kinds.ts';
import { type Settings, type VariableName, variables } from './variables.ts';

/** What a process does, which decides what it must be told. */
export type Role = 'worker' | 'tenant-manager' | 'client' | 'publisher' | 'observer' | 'fetcher';

type Required = Partial<Record<VariableName, string>>;

export interface ConfigProblem {
  variable: string;
  problem: string;
}

/** Everything that is wrong with the configuration, at once and by variable. */
export class ConfigError extends MatcherError {
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    const lines = problems.map((p) => `  ${p.variable} ${p.problem}`).join('\n');
    super(
      'INVALID_CONFIG',
      `The configuration has ${problems.length} problem${problems.length > 1 ? 's' : ''}:\n${lines}`,
    );
    this.problems = problems;
  }
}

/**
 * Reads every setting from `env`. An empty variable counts as absent. Connects to nothing.
 *
 * @throws ConfigError with all problems.
 */
export function loadSettings(role: Role, env: NodeJS.ProcessEnv = process.env): Settings {
  const problems: ConfigProblem[] = [];
  const values: Record<string, unknown> = {};
  for (const [name, variable] of Object.entries(variables) as [VariableName, Variable<unknown>][]) {
    const text = env[name]?.trim();
    values[name] = variable.default;
    if (text === undefined || text === '') continue;
    try {
      values[name] = variable.read(text);
    } catch (error) {
      problems.push({ variable: name, problem: (error as Error).message });
    }
  }
  const settings = values as Settings;
  const unreadable = new Set(problems.map((p) => p.variable));
  for (const [name, reason] of Object.entries(required(role, settings))) {
    if (settings[name as VariableName] === undefined && !unreadable.has(name)) {
      problems.push({ variable: name, problem: `is required ${reason}` });
    }
  }
  if (role === 'fetcher' && !settings.FETCHER_ENABLED) {
    problems.push({ variable: 'FETCHER_ENABLED', problem: 'is not true' });
  }
  problems.push(...contradictions(settings));
  if (problems.length > 0) throw new ConfigError(problems);
  return settings;
}

/** The variables without which a process of that role cannot work, each with the reason. */
function required(role: Role, settings: Settings): Required {
  const postgres = (reason: string): Required => ({
    POSTGRES_HOST: reason,
    POSTGRES_USER: reason,
    POSTGRES_PASSWORD: reason,
    POSTGRES_DB: reason,
  });
  const rabbitmq = (reason: string): Required => ({
    RABBITMQ_HOST: reason,
    RABBITMQ_USER: reason,
    RABBITMQ_PASSWORD: reason,
  });
  if (role === 'tenant-manager') {
    const reason = 'by the Tenant Manager';
    return {
      ...postgres(reason),
      ...rabbitmq(reason),
      RABBITMQ_MANAGEMENT_URL: reason,
      MULTI_TENANT_SERVICE_API_KEY: reason,
      MULTI_TENANT_ENVIRONMENT: reason,
    };
  }
  const multi = 'when MULTI_TENANT_ENABLED is true';
  const single = 'when MULTI_TENANT_ENABLED is false';
  const tenants: Required = settings.MULTI_TENANT_ENABLED
    ? { MULTI_TENANT_URL: multi, MULTI_TENANT_SERVICE_API_KEY: multi }
    : { ...postgres(single), ...rabbitmq(single) };
  if (role === 'fetcher') {
    const cache: Required = settings.MULTI_TENANT_ENABLED
      ? { MULTI_TENANT_SERVICE_API_KEY: multi, REDIS_HOST: multi }
      : {};
    return { ...cache, ...fetcher(settings) };
  }
  if (role === 'publisher') return tenants;
  if (role === 'observer') return { ...tenants, REDIS_HOST: 'to find the processes of the fleet' };
  const objects: Required = { OBJECT_STORAGE_BUCKET: 'for files and exports' };
  if (role === 'client') return { ...tenants, ...objects };
  return {
    ...tenants,
    ...objects,
    REDIS_HOST: 'by every worker',
    ...(settings.FETCHER_ENABLED ? fetcher(settings) : {}),
  };
}

function fetcher(settings: Settings): Required {
  const reason = 'when FETCHER_ENABLED is true';
  if (!settings.MULTI_TENANT_ENABLED) return { FETCHER_URL: reason };
  const multi = `${reason} in multi-tenant mode`;
  return { FETCHER_URL: reason, PLUGIN_AUTH_ADDRESS: multi, AWS_REGION: multi };
}

/** Settings that are well-formed, each on its own, and can't be meant together. */
function contradictions(settings: Settings): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  // What crosses a network carries the API key, the clients' secrets and the tokens.
  const addresses: VariableName[] = [
    'MULTI_TENANT_URL',
    ...(settings.FETCHER_ENABLED
      ? (['FETCHER_URL', 'PLUGIN_AUTH_ADDRESS', 'AWS_ENDPOINT_URL_SECRETS_MANAGER'] as const)
      : []),
  ];
  for (const variable of settings.MULTI_TENANT_ALLOW_INSECURE_HTTP ? [] : addresses) {
    const address = settings[variable];
    if (typeof address !== 'string') continue;
    const { protocol, hostname } = new URL(address);
    if (protocol !== 'https:' && !isLoopback(hostname)) {
      const problem = 'is plain http and not on this machine; use https or set MULTI_TENANT_ALLOW_INSECURE_HTTP=true';
      problems.push({ variable, problem });
    }
  }
  if (settings.FETCHER_ENABLED && settings.MULTI_TENANT_ENABLED) {
    for (const variable of ['M2M_TARGET_SERVICE', 'MULTI_TENANT_ENVIRONMENT'] as const) {
      const text = settings[variable];
      const problem = text === undefined ? undefined : segmentProblem(text);
      if (problem) problems.push({ variable, problem: `${problem}: it is part of the names of secrets` });
    }
  }
  if (/[^\x20-\x7e]/.test(settings.MULTI_TENANT_SERVICE_API_KEY ?? '')) {
    const problem = 'has a character that an HTTP header cannot carry';
    problems.push({ variable: 'MULTI_TENANT_SERVICE_API_KEY', problem });
  }
  if (tryCanonicalTenantId(settings.DEFAULT_TENANT_ID) === undefined) {
    problems.push({ variable: 'DEFAULT_TENANT_ID', problem: 'is no tenant identifier' });
  }
  const keys = ['OBJECT_STORAGE_ACCESS_KEY_ID', 'OBJECT_STORAGE_SECRET_ACCESS_KEY'] as const;
  for (const [one, other] of [keys, keys.toReversed()] as [VariableName, VariableName][]) {
    if (settings[one] === undefined && settings[other] !== undefined) {
      problems.push({ variable: one, problem: `is required together with ${other}` });
    }
  }
  return problems;
}
