import { loadSettings } from '@matcher/shared/config/load.ts';
import { openLink } from '@matcher/shared/rabbitmq/vhost-link.ts';
import { singleTenantConfig } from '@matcher/shared/tenancy/tenant-config.ts';
import { expect, test } from 'vitest';
import { testLog } from '../support/test-log.ts';

const settings = loadSettings('worker', { ...process.env, MULTI_TENANT_ENABLED: 'false' });

/** What is said about a connection to this host. */
async function warnings(host: string) {
  const { log, lines } = testLog();
  const target = { ...singleTenantConfig(settings).rabbitmq, host };
  const link = await openLink(target, { name: 'test', log }, new AbortController().signal);
  await link.model.close();
  return lines.map((line) => JSON.parse(line)).filter(({ level }) => level === 'warn');
}

test('a broker on the network is never spoken to in the clear without a word', async () => {
  // The network's name for this machine, as far as the check can see.
  expect(await warnings('0.0.0.0')).toEqual([
    expect.objectContaining({ host: '0.0.0.0', msg: 'the way to the broker is not encrypted' }),
  ]);
  expect(await warnings(singleTenantConfig(settings).rabbitmq.host)).toEqual([]);
});
