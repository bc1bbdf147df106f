import { randomUUID } from 'node:crypto';
import { loadSettings } from '@matcher/shared/config/load.ts';
import type { Settings } from '@matcher/shared/config/variables.ts';
import { errorCode, MatcherError } from '@matcher/shared/errors.ts';
import { createTenantManagerClient, type TenantManagerClient } from '@matcher/shared/tenancy/manager-client.ts';
import { canonicalTenantId, type TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import { type Command, Option } from 'commander';
import { finishCommand, required, type Shell, wholeNumber } from '../invocation.ts';
import { table } from '../terminal-text.ts';

interface CreateOptions {
  email: string;
  id?: string;
  slug?: string;
  maxOpenConns?: number;
}

export function addTenantCommands(program: Command, shell: Shell): void {
  const tenant = program.command('tenant').description('Administers tenants through the Tenant Manager.');

  const create = tenant
    .command('create')
    .description('Creates a tenant with a database and a vhost of its own. Workers that run take it up by themselves.')
    .argument('<name>', 'how people call it')
    .addOption(required(new Option('--email <address>', 'of its owner')))
    .option('--id <id>', 'its identifier; a UUID by default. With the same one an interrupted creation is continued')
    .option('--slug <slug>', 'short name in events; made from the name by default')
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
        vhost: rabbitmq.vhost,
      };
      out.result(
        document,
        table(['ID', 'SLUG', 'DATABASE', 'VHOST'], [[document.id, document.slug, document.database, document.vhost]]),
      );
    },
  );

  const list = tenant.command('list').description('Lists the tenants whose jobs are worked on.');
  finishCommand(list, shell, 'matcher tenant list --json', async ({ out }) => {
    const tenants = (await connect().manager.describeActive()).map(({ id, name, status }) => ({
      id,
      name: name ?? null,
      status: status ?? null,
    }));
    const text = table(
      ['ID', 'NAME', 'STATUS'],
      tenants.map(({ id, name, status }) => [id, name ?? '', status ?? '']),
    );
    out.result({ tenants }, tenants.length === 0 ? 'There are no active tenants.' : text);
  });

  const suspend = tenant
    .command('suspend')
    .description('Suspends the service for a tenant: running jobs end, waiting ones stay in their queues.')
    .argument('<id>', 'the tenant');
  finishCommand(
    suspend,
    shell,
    'matcher tenant suspend 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async ({ out }, _, id: string) => {
      const tenantId = canonicalTenantId(id);
      await connect().manager.suspend(tenantId);
      out.result({ id: tenantId, status: 'suspended' }, `${tenantId} is suspended.`);
    },
  );

  const reactivate = tenant
    .command('reactivate')
    .description('Gives a suspended tenant its service back: what waits in its queues is worked on.')
    .argument('<id>', 'the tenant');
  finishCommand(
    reactivate,
    shell,
    'matcher tenant reactivate 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async ({ out }, _, id: string) => {
      const tenantId = canonicalTenantId(id);
      await connect().manager.reactivate(tenantId);
      out.result({ id: tenantId, status: 'active' }, `${tenantId} is active.`);
    },
  );
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
  { email, id: wanted, slug, maxOpenConns }: CreateOptions,
): Promise<{ tenantId: TenantId; slug: string }> {
  const tenantId = canonicalTenantId(wanted ?? randomUUID());
  let exists: unknown;
  try {
    await manager.create({
      id: tenantId,
      name,
      ...(slug === undefined ? {} : { slug }),
      environment: settings.MULTI_TENANT_ENVIRONMENT ?? settings.ENV_NAME,
      isolation: 'isolated',
      owner: { email },
    });
  } catch (error) {
    if (wanted === undefined || errorCode(error) !== 'ALREADY_EXISTS') throw error;
    exists = error;
  }
  try {
    await manager.associate(tenantId, {
      isolationMode: 'isolated',
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
