import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createMetrics as createSharedMetrics } from '@matcher/shared/observability/metrics.ts';
import { expect, test } from 'vitest';
import { createMetrics } from '../../../workers/scheduler/metrics.ts';

const page = readFileSync(resolve(import.meta.dirname, '../../../docs/scheduling.md'), 'utf8');

interface Known {
  name: string;
  constructor: { name: string };
  labelNames: string[];
}

test('the page on schedules has every metric of a scheduler, with its type and labels, and none that is not', () => {
  const shared = new Set(
    createSharedMetrics()
      .registry.getMetricsAsArray()
      .map(({ name }) => name),
  );
  const own = createMetrics()
    .registry.getMetricsAsArray()
    .map((metric) => metric as unknown as Known)
    .filter(({ name }) => !shared.has(name))
    .map((metric) => [metric.name, metric.constructor.name.toLowerCase(), ...metric.labelNames].join(' '));
  expect(own.length).toBeGreaterThan(3);
  const shown = [...page.matchAll(/^\| `(matcher_\w+)` \| (\w+) \| ([^|]*) \|/gm)].map(([, name, type, labels = '']) =>
    [name, type, ...[...labels.matchAll(/`(\w+)`/g)].map(([, label]) => label)].join(' '),
  );
  expect(shown.toSorted()).toEqual(own.toSorted());
});
