import { MatcherError } from '@matcher/shared/errors.ts';
import type { FetcherClient } from '@matcher/shared/secrets/fetcher-client.ts';
import type { TenantId } from '@matcher/shared/tenancy/tenant-id.ts';
import type { Command } from 'commander';
import { type FetcherSession, withFetcher } from '../fetcher-session.ts';
import { finishCommand, type Invocation, type Shell, tenantOption } from '../invocation.ts';
import { oneLine, table } from '../terminal-text.ts';

interface Options {
  tenant?: string;
}

/** What is shown of a connection: of what else the Fetcher says about it, nobody knows whether it is secret. */
interface Connection {
  id: string;
  name: string | null;
  type: string | null;
}

const pageSize = 100;

export function addFetcherCommands(program: Command, shell: Shell): void {
  const fetcher = program
    .command('fetcher')
    .description('Checks the way to the Fetcher, which reads customers’ databases, as one tenant.');

  const check = fetcher
    .command('check')
    .description('Asks for its health, reads the tenant’s credentials, gets a token, and lists the connections.')
    .addOption(tenantOption());
  finishCommand(
    check,
    shell,
    'matcher fetcher check --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async (invocation, { tenant }: Options) => {
      await withFetcher(tenant, (session) => checkFetcher(invocation, session));
    },
  );

  const test = fetcher
    .command('test')
    .description('Has the Fetcher connect to a database of the tenant’s.')
    .argument('<connection-id>', 'as matcher fetcher check lists it')
    .addOption(tenantOption());
  finishCommand(
    test,
    shell,
    'matcher fetcher test ledger --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00',
    async ({ out, signal }, { tenant }: Options, connectionId: string) => {
      await withFetcher(tenant, async ({ tenantId, fetcher: client }) => {
        const { status } = await client.testConnection(tenantId, connectionId, signal);
        if (!/^(success|succeeded|ok)$/i.test(status)) {
          throw new MatcherError('FETCHER_CONNECTION_FAILED', `The Fetcher’s test of ${connectionId} says ${status}`, {
            hint: 'Why is in the Fetcher’s own log.',
          });
        }
        out.result({ tenantId, connectionId, status }, `The Fetcher connects to ${oneLine(connectionId)}.`);
      });
    },
  );

  const schema = fetcher
    .command('schema')
    .description('Shows the tables and fields that the Fetcher finds in a database of the tenant’s.')
    .argument('<connection-id>', 'as matcher fetcher check lists it')
    .addOption(tenantOption());
  finishCommand(
    schema,
    shell,
    'matcher fetcher schema ledger --tenant 0190a3c2f1b87c3e9d4a5b6c7d8e9f00 --json',
    async ({ out, signal }, { tenant }: Options, connectionId: string) => {
      await withFetcher(tenant, async ({ tenantId, fetcher: client }) => {
        const found = await client.connectionSchema(tenantId, connectionId, signal);
        const tables = found.tables.map(({ name, fields }) => ({ name, fields }));
        const rows = tables.map(({ name, fields }) => [name, fields.join(', ')]);
        out.result({ tenantId, connectionId, tables }, table(['TABLE', 'FIELDS'], rows));
      });
    },
  );
}

/** Step by step, each said when it is done, so that the one that fails is the one after the last that was said. */
async function checkFetcher({ out, signal }: Invocation, session: FetcherSession): Promise<void> {
  const { tenantId, settings, fetcher, m2m } = session;
  out.progress('Fetcher', 'asking for its health');
  await fetcher.health(signal);
  out.done('Fetcher', `is up at ${settings.FETCHER_URL}`);
  if (m2m) {
    out.progress('credentials', 'reading');
    await m2m.credentials.get(tenantId, signal);
    out.done('credentials', m2m.cached ? 'read' : 'read; Redis, which caches them, is not reachable');
    out.progress('token', 'asking');
    await m2m.tokens.get(tenantId, signal);
    out.done('token', `given by ${settings.PLUGIN_AUTH_ADDRESS}`);
  }
  out.progress('connections', 'asking');
  const connections = await listConnections(fetcher, tenantId, signal);
  out.done('connections', String(connections.length));
  const document = {
    tenantId,
    fetcher: 'up',
    // Without multi-tenant mode there are no credentials.
    credentials: m2m ? 'read' : null,
    cache: m2m ? (m2m.cached ? 'reachable' : 'unreachable') : null,
    token: m2m ? 'given' : null,
    connections,
  };
  const rows = connections.map(({ id, name, type }) => [id, name ?? '', type ?? '']);
  const text = table(['CONNECTION', 'NAME', 'TYPE'], rows);
  out.result(document, connections.length === 0 ? 'The tenant has no connections.' : text);
}

async function listConnections(fetcher: FetcherClient, tenantId: TenantId, signal: AbortSignal): Promise<Connection[]> {
  const connections = new Map<string, Connection>();
  for (let page = 1; ; page++) {
    const { items } = await fetcher.connections(tenantId, { page, limit: pageSize }, signal);
    const before = connections.size;
    for (const { id, configName, type } of items) connections.set(id, { id, name: text(configName), type: text(type) });
    // Also the end for a Fetcher that gives the same page again and again.
    if (connections.size === before) return [...connections.values()];
  }
}

function text(value: unknown): string | null {
  return typeof value === 'string' ? value : null;
}
