import { randomUUID } from 'node:crypto';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, errorMessage, MatcherError } from '@matcher/shared/errors.ts';
import {
  createTenantManagerClient,
  type NewLimits,
  type TenantManagerClient,
} from '@matcher/shared/tenancy/manager-client.ts';
import { readStatementTimeout } from '@matcher/shared/tenancy/statement-timeout.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { z } from 'zod';
import { UsageError } from '../failures.ts';
import { finishCommand, required, type Shell, wholeNumber } from '../invocation.ts';
import { table } from '../terminal-text.ts';

interface CreateOptions {
  email: string;
  id?: string;
  slug?: string;
  isolation: string;
  maxOpenConns?: number;
}

/** What the word `default` stands for in a limit's place; the library has no option of the value `null`. */
const taken = 'default';

interface LimitOptions {
  maxOpenConns?: number | typeof taken;
  maxIdleConns?: number | typeof taken;
  statementTimeout?: string;
}

interface RotateOptions {
  database?: boolean;
  broker?: boolean;
}

const example = '0190a3c2f1b87c3e9d4a5b6c7d8e9f00';

export function addTenantCommands(program: Command, shell: Shell): void {
  const tenant = program.command('tenant').description('Administers tenants through the Tenant Manager.');

  const create = tenant
    .command('create')
    .description('Creates a tenant with a database and a vhost of its own. Workers that run take it up by themselves.')
    .argument('<name>', 'how people call it')
    .addOption(required(new Option('--email <address>', 'of its owner').argParser(emailAddress)))
    .option(
      '--id <id>',
      'its identifier; a UUID by default. With the same one an interrupted creation is continued, and a removed tenant brought back',
    )
    .option('--slug <slug>', 'short name in events; made from the name by default')
    .addOption(
      new Option('--isolation <mode>', 'a database of its own (isolated), or a schema in a shared one')
        .choices(['isolated', 'schema'])
        .default('isolated'),
    )
    .option('--max-open-conns <n>', 'connections that a worker process opens to its database at most', wholeNumber);
  finishCommand(
    create,
    shell,
    "matcher tenant create 'Acme Payments' --email ops@acme.example",
    async ({ out }, options: CreateOptions, name: string) => {
      const { settings, manager } = connect();
      const created = await createTenant(settings, manager, name, options);
      const { postgres, rabbitmq } = await manager.config(created.tenantId);
      const document = {
        id: created.tenantId,
        slug: created.slug,
        status: 'active',
        database: postgres.database,
        schema: postgres.schema ?? null,
        vhost: rabbitmq.vhost,
      };
      out.result(
        document,
        table(['ID', 'SLUG', 'DATABASE', 'VHOST'], [[document.id, document.slug, document.database, document.vhost]]),
      );
    },
  );

  const list = tenant
    .command('list')
    .description('Lists the tenants whose jobs are worked on.')
    .option('--all', 'the suspended, removed and deleted ones, too');
  finishCommand(list, shell, 'matcher tenant list --all', async ({ out }, { all }: { all?: boolean }) => {
    const { manager } = connect();
    const tenants = (await (all ? manager.describeAll() : manager.describeActive())).map(({ id, name, status }) => ({
      id,
      name: name ?? null,
      status: status ?? null,
    }));
    const text = table(
      ['ID', 'NAME', 'STATUS'],
      tenants.map(({ id, name, status }) => [id, name ?? '', status ?? '']),
    );
    out.result({ tenants }, tenants.length === 0 ? `There are no ${all ? '' : 'active '}tenants.` : text);
  });

  const suspend = tenant
    .command('suspend')
    .description('Suspends the service for a tenant: running jobs end, waiting ones stay in their queues.')
    .argument('<id>', 'the tenant');
  finishCommand(suspend, shell, `matcher tenant suspend ${example}`, async ({ out }, _, id: string) => {
    const tenantId = canonicalTenantId(id);
    await connect().manager.suspend(tenantId);
    out.result({ id: tenantId, status: 'suspended' }, `${tenantId} is suspended.`);
  });

  const reactivate = tenant
    .command('reactivate')
    .description('Gives a suspended tenant its service back: what waits in its queues is worked on.')
    .argument('<id>', 'the tenant');
  finishCommand(reactivate, shell, `matcher tenant reactivate ${example}`, async ({ out }, _, id: string) => {
    const tenantId = canonicalTenantId(id);
    await connect().manager.reactivate(tenantId);
    out.result({ id: tenantId, status: 'active' }, `${tenantId} is active.`);
  });

  const rotate = tenant
    .command('rotate')
    .description(
      'Gives a tenant new passwords; the former ones open no connection any more. Workers follow by themselves.',
    )
    .argument('<id>', 'the tenant')
    .option('--database', 'only the one of its database')
    .option('--broker', 'only the one of its vhost');
  finishCommand(
    rotate,
    shell,
    `matcher tenant rotate ${example} --database`,
    async ({ out }, { database, broker }: RotateOptions, id: string) => {
      const tenantId = canonicalTenantId(id);
      const one = database === broker ? undefined : database ? 'database' : 'broker';
      const { status } = await connect().manager.rotateCredentials(tenantId, one);
      const rotated = one ? [one] : ['database', 'broker'];
      out.result({ id: tenantId, status, rotated }, `${tenantId} has new passwords: ${rotated.join(', ')}.`);
    },
  );

  const limits = tenant
    .command('limits')
    .description('Changes the limits of a tenant’s connections, in every worker process. "default" takes one back.')
    .argument('<id>', 'the tenant')
    .option('--max-open-conns <n>', 'connections that a worker process opens to its database at most', countOrDefault)
    .option('--max-idle-conns <n>', 'of these, how many stay open without work', countOrDefault)
    .option(
      '--statement-timeout <time>',
      'how long a statement may take that is no bulk work: 30s, 500ms',
      timeOrDefault,
    );
  finishCommand(
    limits,
    shell,
    `matcher tenant limits ${example} --max-open-conns 10 --statement-timeout 20s`,
    async ({ out }, { maxOpenConns, maxIdleConns, statementTimeout }: LimitOptions, id: string) => {
      const tenantId = canonicalTenantId(id);
      const changes = Object.entries({ maxOpenConns, maxIdleConns, statementTimeout })
        .filter(([, value]) => value !== undefined)
        .map(([name, value]) => [name, value === taken ? null : value] as const);
      if (changes.length === 0) {
        throw new UsageError('USAGE', 'limits needs --max-open-conns, --max-idle-conns or --statement-timeout');
      }
      const changed: NewLimits = Object.fromEntries(changes);
      const { status } = await connect().manager.changeLimits(tenantId, changed);
      const text = changes.map(([name, value]) => `${name} ${value ?? taken}`).join(', ');
      out.result({ id: tenantId, status, changed }, `${tenantId} has new limits: ${text}.`);
    },
  );

  const remove = tenant
    .command('remove')
    .description('Ends the service for a tenant. Its data and what waits in its queues stay.')
    .argument('<id>', 'the tenant');
  finishCommand(remove, shell, `matcher tenant remove ${example}`, async ({ out }, _, id: string) => {
    const tenantId = canonicalTenantId(id);
    const { status } = await connect().manager.disassociate(tenantId);
    out.result(
      { id: tenantId, status },
      `${tenantId} is served no more. Its database, its vhost and its objects stay as they are.`,
    );
  });
}

function emailAddress(text: string): string {
  if (!z.email().safeParse(text).success) throw new InvalidArgumentError('It takes an email address.');
  return text;
}

function countOrDefault(text: string): number | typeof taken {
  return text === taken ? text : wholeNumber(text);
}

/** Passed on as it is, since the Tenant Manager reads it in the same way. */
function timeOrDefault(text: string): string {
  if (text === taken) return text;
  try {
    readStatementTimeout(text);
    return text;
  } catch (error) {
    throw new InvalidArgumentError(`It ${errorMessage(error)}.`);
  }
}

/** These commands are about the Tenant Manager, whatever mode the rest of the environment is set to. */
function connect(): { settings: Settings; manager: TenantManagerClient } {
  const settings = loadSettings('publisher', { ...process.env, MULTI_TENANT_ENABLED: 'true' });
  return { settings, manager: createTenantManagerClient(settings) };
}

/** Creates and associates. The identifier is chosen here, so that what was interrupted between the two can be continued. */
async function createTenant(
  settings: Settings,
  manager: TenantManagerClient,
  name: string,
  { email, id: wanted, slug, isolation, maxOpenConns }: CreateOptions,
): Promise<{ tenantId: TenantId; slug: string }> {
  const tenantId = canonicalTenantId(wanted ?? randomUUID());
  let exists: unknown;
  try {
    await manager.create({
      id: tenantId,
      name,
      ...(slug === undefined ? {} : { slug }),
      environment: settings.MULTI_TENANT_ENVIRONMENT ?? settings.ENV_NAME,
      isolation,
      owner: { email },
    });
  } catch (error) {
    if (wanted === undefined || errorCode(error) !== 'ALREADY_EXISTS') throw error;
    exists = error;
  }
  try {
    await manager.associate(tenantId, {
      isolationMode: isolation,
      ...(maxOpenConns === undefined ? {} : { maxOpenConns }),
    });
  } catch (error) {
    // Nothing was interrupted: it is complete, or what exists is another tenant with this slug.
    if (exists) throw exists;
    throw new MatcherError(
      errorCode(error),
      `The tenant ${tenantId} was created, but not its database and vhost: ${(error as Error).message}`,
      {
        hint: `The same command with --id ${tenantId} continues.`,
        cause: error,
      },
    );
  }
  return { tenantId, slug: (await manager.config(tenantId)).slug };
}
