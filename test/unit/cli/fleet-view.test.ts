import { MatcherError } from '@matcher/shared/errors.ts';
import type { ProcessSnapshot, TenantSnapshot } from '@matcher/shared/process/fleet-registry.ts';
import type { QueueDepths } from '@matcher/shared/rabbitmq/queue-depths.ts';
import { describe, expect, test } from 'vitest';
import { fleetTables, notesOn } from '../../../workers/cli/fleet-tables.ts';
import {
  type FleetSources,
  knownTenants,
  unworkedTypes,
  viewProcess,
  viewTenants,
} from '../../../workers/cli/fleet-view.ts';
import { noJobs, snapshot } from '../../support/snapshots.ts';

const depths = (waiting = 0, dead = 0): QueueDepths => ({
  jobs: { ...noJobs, 'ingestion.run': waiting },
  delayed: 0,
  dead,
});
const pool = { connections: 3, idle: 1, waiting: 0, leases: 1, max: 25 };
const busy = (id: string, said: Partial<TenantSnapshot> = {}): TenantSnapshot => ({
  id,
  share: true,
  consuming: true,
  since: new Date().toISOString(),
  running: 0,
  pool: null,
  ...said,
});
const matching = (tenants: Partial<ProcessSnapshot['tenants']>, said: Partial<ProcessSnapshot> = {}) =>
  snapshot({ ...said, tenants: { atRest: [], others: [], ...tenants } });
const ingest = (tenants: Partial<ProcessSnapshot['tenants']>) =>
  matching(tenants, { kind: 'ingest', jobs: ['ingestion.run'] });

function view(sources: Partial<FleetSources> & { processes: ProcessSnapshot[] }) {
  const all = { listed: [], depths: new Map(), ...sources };
  const tenants = viewTenants(knownTenants(all.processes, all.listed), all);
  const fleet = {
    at: new Date().toISOString(),
    environment: 'test',
    tenants,
    processes: all.processes.map(viewProcess),
    unworked: unworkedTypes(all.processes),
  };
  return { ...fleet, notes: notesOn(fleet) };
}

const listed = (...ids: string[]) => ids.map((id) => ({ id, name: `${id} Ltd` }));

describe('a tenant’s state', () => {
  const state = (sources: Parameters<typeof view>[0]) =>
    Object.fromEntries(view(sources).tenants.map((tenant) => [tenant.id, tenant.state]));

  test('is active when every job type that is worked is consumed for it, at rest or busy', () => {
    const processes = [ingest({ atRest: ['a'] }), matching({ others: [busy('a', { pool })] })];
    expect(state({ processes, listed: listed('a') })).toEqual({ a: 'active' });
  });

  test('says when a kind of job is not consumed for it, although others are', () => {
    const processes = [ingest({ atRest: ['a'] }), matching({ others: [busy('a', { consuming: false })] })];
    expect(state({ processes, listed: listed('a') })).toEqual({ a: 'partly consumed' });
  });

  test('says when nobody consumes it, whether or not a process knows it', () => {
    const processes = [matching({ others: [busy('a', { consuming: false })] })];
    expect(state({ processes, listed: listed('a', 'b') })).toEqual({ a: 'not consumed', b: 'not consumed' });
  });

  test('is leaving when it is listed no longer and a process still has it, suspended when that is the reason', () => {
    const suspended = new MatcherError('TENANT_SUSPENDED', 'The service is suspended for this tenant');
    const processes = [matching({ others: [busy('a', { running: 1 }), busy('b', { consuming: false, pool })] })];
    expect(state({ processes, depths: new Map([['b', suspended]]) })).toEqual({ a: 'leaving', b: 'suspended' });
  });

  test('is unknown, and not leaving, when the Tenant Manager is away', () => {
    const away = new MatcherError('TENANT_MANAGER_UNAVAILABLE', 'The Tenant Manager cannot be reached');
    expect(state({ processes: [matching({ atRest: ['a'] })], listed: away })).toEqual({ a: 'unknown' });
  });
});

test('a tenant that only its homes consume, among many processes, is not called partly consumed', () => {
  const processes = [
    matching({ atRest: ['a'] }),
    matching({ atRest: ['b'], others: [busy('a', { share: false, consuming: false, pool })] }),
    matching({ atRest: ['a', 'b'] }),
  ];
  const { tenants, processes: shown, notes } = view({ processes, listed: listed('a', 'b') });
  expect(tenants).toMatchObject([
    { id: 'a', state: 'active', consumedBy: { matching: 2 }, givenTo: { matching: 2 } },
    { id: 'b', state: 'active', consumedBy: { matching: 2 }, givenTo: { matching: 2 } },
  ]);
  expect(shown.map((one) => one.tenants.notConsumed)).toEqual([0, 0, 0]);
  expect(notes.join()).not.toContain('consumed');
});

test('pools, connections and running jobs are the sums over the processes; what could not be counted is not zero', () => {
  const processes = [
    matching({ others: [busy('a', { pool, running: 2 }), busy('b', { pool })] }),
    matching({ others: [busy('a', { pool: { ...pool, connections: 5, waiting: 4 }, running: 1 })], atRest: ['b'] }),
  ];
  const away = new MatcherError('BROKER_UNAVAILABLE', 'The broker cannot be asked');
  const { tenants } = view({
    processes,
    listed: listed('a', 'b'),
    depths: new Map<string, QueueDepths | MatcherError>([
      ['a', depths(7, 1)],
      ['b', away],
    ]),
  });
  expect(tenants).toMatchObject([
    {
      id: 'a',
      name: 'a Ltd',
      consumedBy: { matching: 2 },
      running: 3,
      pools: { open: 2, leases: 2, connections: 8, idle: 2, waiting: 4, max: 50 },
      queues: { jobs: { 'ingestion.run': 7 }, dead: 1 },
      queuesProblem: null,
    },
    {
      id: 'b',
      pools: { open: 1, max: 25 },
      queues: null,
      queuesProblem: { code: 'BROKER_UNAVAILABLE', message: 'The broker cannot be asked' },
    },
  ]);
});

test('for a person: one line per tenant and per process, the sums, and what is wrong', () => {
  const stalled = matching(
    { others: [busy('a', { consuming: false }), busy('b', { consuming: false })] },
    {
      state: 'stalled',
      reasons: ['none of the 2 tenants of this process is consumed'],
      address: '10.0.0.2:4018',
      pid: 2,
    },
  );
  const processes = [
    ingest({ atRest: ['a'] }),
    matching({ others: [busy('a', { pool, running: 1 })] }, { slots: { total: 4, used: 1 } }),
    stalled,
  ];
  const away = new MatcherError('BROKER_UNAVAILABLE', 'The broker cannot be asked');
  const text = fleetTables(
    view({
      processes,
      listed: listed('a', 'b'),
      depths: new Map<string, QueueDepths | MatcherError>([
        ['a', depths(1200, 1)],
        ['b', away],
      ]),
    }),
  );
  const started = processes[0]?.startedAt.replace(/\.\d+Z$/, 'Z');
  expect(
    text,
  ).toBe(`TENANT  NAME   STATE         CONSUMED BY             POOLS  USED/IDLE/MAX  RUNNING  WAITING  DELAYED  DEAD
a       a Ltd  active        ingest 1, matching 1/2      1  2/1/25               1  1,200    0        1
b       b Ltd  not consumed  ingest 0, matching 0/1      0  -                    0  ?        ?        ?

PROCESS          ADDRESS         STATE    SLOTS  TENANTS  POOLS  LEASED  WAITING  BREAKER  STARTED
ingest@host:1    127.0.0.1:4018  running  0/4    1        0/100       0        0  closed   ${started}
matching@host:1  127.0.0.1:4018  running  1/4    1        0/100       0        0  closed   ${started}
matching@host:2  10.0.0.2:4018   stalled  0/4    0/2      0/100       0        0  closed   ${started}

2 tenants: 1 active, 1 not consumed. Jobs: 1 running, 1,200 waiting, 0 delayed, 1 dead letters (counted in 1 of 2 tenants).
! matching at 10.0.0.2:4018 is not ready: none of the 2 tenants of this process is consumed
! No process works export.run
! not consumed: b
! queues not counted: b: The broker cannot be asked [BROKER_UNAVAILABLE]`);
});

test('a thousand tenants that nobody consumes are one note, not a thousand', () => {
  const ids = Array.from({ length: 1000 }, (_, i) => `t${i}`);
  const { notes } = view({ processes: [matching({})], listed: listed(...ids) });
  expect(notes).toContainEqual(expect.stringMatching(/^not consumed: t0, .* and 990 more$/));
});

test('a tenant’s name can’t be taken for something else on a terminal', () => {
  const text = fleetTables(view({ processes: [matching({})], listed: [{ id: 'a', name: 'x\u001b[2J\ny' }] }));
  expect(text).not.toContain('\u001b');
  expect(text).toContain('x[2J y');
});
