import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Fleet } from './fleet/fleet.ts';
import { environmentFile } from './paths.ts';
import { freePorts } from './services/ports.ts';
import { type Services, startServices } from './services/start.ts';

export interface DeploymentOptions {
  commands: ReadonlyMap<string, string>;
  counts: ReadonlyMap<string, number>;
  /** Progress for a person, a line at a time. */
  say(line: string): void;
  output(process: string, line: string): void;
  failed(problem: string): void;
  signal: AbortSignal;
}

/** Services, Tenant Manager and workers on this machine. */
export interface Deployment {
  /** What a client, such as the command line, needs to reach it. */
  environment: Record<string, string>;
  fleet: Fleet;
  /** Drains and stops everything; nothing stays. */
  stop(): Promise<void>;
}

const manager = 'tenant-manager';

/**
 * Starts a whole deployment. Addresses in the environment are used as they are: services that are there, and with MULTI_TENANT_URL a Tenant Manager that
 * is there, in which case none is started.
 */
export async function startDeployment(options: DeploymentOptions): Promise<Deployment> {
  const services = await startServices({ log: options.say, signal: options.signal });
  let fleets: Fleet[] = [];
  const stop = async () => {
    // Workers first: a draining worker still writes to its tenant's database.
    for (const fleet of fleets.toReversed()) await fleet.stop();
    forgetEnvironment();
    await services.stop();
  };
  try {
    const environment = { ...services.environment, ...(await tenantSettings(services)) };
    const fleet = (names: (name: string) => boolean) =>
      new Fleet({ ...options, environment, commands: new Map([...options.commands].filter(([name]) => names(name))) });
    if (environment.MULTI_TENANT_ENABLED === 'true' && process.env.MULTI_TENANT_URL === undefined) {
      const first = fleet((name) => name === manager);
      fleets = [first];
      await first.start(options.signal, environment.MULTI_TENANT_URL);
    }
    const workers = fleet((name) => name !== manager);
    fleets = [...fleets, workers];
    await workers.start(options.signal);
    leaveEnvironment(environment);
    return { environment, fleet: workers, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** How the processes find the tenants: what the environment says, else a Tenant Manager of our own. */
async function tenantSettings(services: Services): Promise<Record<string, string>> {
  const { MULTI_TENANT_ENABLED: enabled = 'true', MULTI_TENANT_URL: url } = process.env;
  if (enabled !== 'true') return { MULTI_TENANT_ENABLED: enabled };
  if (url !== undefined) return { MULTI_TENANT_ENABLED: enabled, MULTI_TENANT_URL: url };
  const { port } = await freePorts('port');
  return {
    MULTI_TENANT_ENABLED: 'true',
    MULTI_TENANT_URL: `http://127.0.0.1:${port}`,
    MULTI_TENANT_SERVICE_API_KEY: process.env.MULTI_TENANT_SERVICE_API_KEY ?? randomBytes(24).toString('base64url'),
    MULTI_TENANT_ENVIRONMENT: process.env.MULTI_TENANT_ENVIRONMENT ?? 'local',
    POSTGRES_SSLMODE: services.environment.POSTGRES_SSLMODE ?? process.env.POSTGRES_SSLMODE ?? 'disable',
  };
}

/** Removes what `leaveEnvironment` left, unless another deployment has left its own there meanwhile. */
function forgetEnvironment(): void {
  if (left !== undefined && existsSync(environmentFile) && readFileSync(environmentFile, 'utf8') === left) {
    rmSync(environmentFile);
  }
}

let left: string | undefined;

/** For other terminals. It holds passwords of this deployment, so only its owner can read it. */
function leaveEnvironment(environment: Record<string, string>): void {
  mkdirSync(dirname(environmentFile), { recursive: true });
  const lines = Object.entries(environment).map(
    ([name, value]) => `export ${name}='${value.replaceAll("'", "'\\''")}'\n`,
  );
  left = lines.join('');
  writeFileSync(environmentFile, left, { mode: 0o600 });
}
