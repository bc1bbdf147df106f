import { randomUUID } from 'node:crypto';
import { homeAmong, homesPerTenant } from '@matcher/shared/tenancy/homes.ts';
import fc from 'fast-check';
import { expect, test } from 'vitest';

/** By process, the tenants whose home it is, as each process finds out for itself. */
function shares(processes: readonly string[], tenants: readonly string[]): Map<string, Set<string>> {
  return new Map(
    processes.map((self) => {
      const others = processes.filter((id) => id !== self);
      return [self, new Set(tenants.filter(homeAmong(self, others)))];
    }),
  );
}
const homes = (of: Map<string, Set<string>>, tenant: string) =>
  [...of].filter(([, tenants]) => tenants.has(tenant)).map(([process]) => process);

// The same in every run: chance must not decide whether a share is a little too large.
const names = (count: number, prefix: string) =>
  Array.from({ length: count }, (_, i) => `${prefix}${(i * 0x9e3779b97f4a).toString(16).padStart(24, '0')}`);

const uuids = (min: number, max: number) => fc.uniqueArray(fc.uuid(), { minLength: min, maxLength: max });

test('ten thousand tenants are not ten thousand connections in each process: each has two homes, evenly spread', () => {
  const processes = names(20, 'process');
  const tenants = names(10_000, 'tenant');
  const of = shares(processes, tenants);
  for (const tenant of tenants) expect(homes(of, tenant)).toHaveLength(homesPerTenant);
  const sizes = [...of.values()].map(({ size }) => size);
  expect(Math.max(...sizes)).toBeLessThan(1200);
  expect(Math.min(...sizes)).toBeGreaterThan(800);
});

test('1,000 tenants on 5 processes: no share is more than a fifth larger or smaller than the others', () => {
  for (const round of names(20, '')) {
    const sizes = [...shares(names(5, round), names(1000, 'tenant')).values()].map(({ size }) => size);
    expect(Math.max(...sizes)).toBeLessThan(480);
    expect(Math.min(...sizes)).toBeGreaterThan(320);
  }
});

test('one or two processes are the homes of all tenants', () => {
  for (const processes of [names(1, 'p'), names(2, 'p')]) {
    for (const tenants of shares(processes, names(100, 't')).values()) expect(tenants.size).toBe(100);
  }
});

test('a process that comes or goes moves no tenant but those that it wins or loses', () => {
  fc.assert(
    fc.property(uuids(1, 12), uuids(1, 200), fc.uuid(), (processes, tenants, newcomer) => {
      fc.pre(!processes.includes(newcomer));
      const without = shares(processes, tenants);
      const withIt = shares([...processes, newcomer], tenants);
      for (const tenant of tenants) {
        const [before, after] = [homes(without, tenant), homes(withIt, tenant)];
        const lost = before.filter((id) => !after.includes(id));
        const won = after.filter((id) => !before.includes(id));
        if (!after.includes(newcomer)) expect(after).toEqual(before);
        else expect([won, lost.length]).toEqual([[newcomer], Math.max(0, before.length + 1 - homesPerTenant)]);
      }
    }),
  );
});

test('processes that see different others leave no tenant without a home', () => {
  const views = uuids(1, 8).chain((processes) =>
    fc.tuple(fc.constant(processes), fc.array(fc.subarray(processes), { minLength: 8, maxLength: 8 })),
  );
  const tenants = Array.from({ length: 50 }, () => randomUUID());
  fc.assert(
    fc.property(views, ([processes, seen]) => {
      const choices = processes.map((self, i) =>
        homeAmong(
          self,
          (seen[i] as string[]).filter((id) => id !== self),
        ),
      );
      for (const tenant of tenants) expect(choices.some((isHome) => isHome(tenant))).toBe(true);
    }),
  );
});
