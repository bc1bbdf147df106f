import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createMetrics } from '@matcher/shared/observability/metrics.ts';
import type { Registry } from 'prom-client';
import { expect, test } from 'vitest';
import { createMetrics as createManagerMetrics } from '../../../workers/tenant-manager/metrics.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../docs/operating.md'), 'utf8');

/** Name, type and labels, of what the runtime does not bring along. */
function own(registry: Registry): string[] {
  return registry
    .getMetricsAsArray()
    .map((metric) => metric as unknown as { name: string; constructor: { name: string }; labelNames: string[] })
    .filter(({ name }) => !/^(process|nodejs)_/.test(name))
    .map((metric) => [metric.name, metric.constructor.name.toLowerCase(), ...metric.labelNames].join(' '));
}

test('the operator’s table has every metric there is, with its type and labels, and none that is not', () => {
  const shown = [...page.matchAll(/^\| `((?:tenant|matcher)_\w+)` \| (\w+) \| ([^|]*) \|/gm)].map(
    ([, name, type, labels]) =>
      [name, type, ...[...(labels ?? '').matchAll(/`(\w+)`/g)].map(([, label]) => label)].join(' '),
  );
  const all = [...own(createMetrics().registry), ...own(createManagerMetrics().registry)];
  expect(all.length).toBeGreaterThan(10);
  expect(shown.toSorted()).toEqual(all.toSorted());
});

test('no metric has a label for a tenant: its series would grow with the tenants that exist', () => {
  const labels = own(createMetrics().registry).flatMap((one) => one.split(' ').slice(2));
  expect(labels.filter((label) => /tenant|job|id$/i.test(label))).toEqual([]);
});
