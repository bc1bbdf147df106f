import type { Draw } from './draw.ts';

/**
 * What is published, all of it known beforehand. Each id, reference and key carries its tenant's name, so that what turns up with another
 * tenant is seen; which records match is said by their numbers.
 */

export const jobTypes = ['context.apply', 'ingestion.run', 'matching.run', 'export.run'] as const;
export type JobType = (typeof jobTypes)[number];

export const contexts = ['bank', 'cards'] as const;
export const sources = { ledger: 'LEFT', statement: 'RIGHT' } as const;
export type Source = keyof typeof sources;

/** Records `from` to `to`, both included, of one source. */
export interface FilePart {
  context: string;
  source: Source;
  from: number;
  to: number;
}

export interface PlannedJob {
  id: string;
  /** Name of the tenant. */
  tenant: string;
  type: JobType;
  body: Record<string, unknown>;
  /** When it is due, in milliseconds from the beginning. */
  at: number;
  /** Published a second time under the same id, once it is confirmed. */
  twice: boolean;
  /** What an `ingestion.run` loads. */
  file?: FilePart;
}

export interface DataRecord {
  id: string;
  amount: string;
  currency: string;
  date: string;
  text: string;
  ref: string;
}

export const tenantName = (index: number): string => `ten${String(index + 1).padStart(2, '0')}`;
/** Every tenant's name in a text. */
export const tenantNames = /ten\d\d/g;

/** Whether the two records of that number are a pair; the others differ by a cent. */
export const isPair = (number: number): boolean => number % 5 !== 4;

export function recordsOf(tenant: string, { context, source, from, to }: FilePart): DataRecord[] {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    const number = from + i;
    const cents = (number % 97) + (source === 'statement' && !isPair(number) ? 1 : 0);
    return {
      id: `${tenant}-${context}-${source}-${number}`,
      amount: `${(number % 1000) + 1}.${String(cents).padStart(2, '0')}`,
      currency: 'EUR',
      date: `2026-01-${String((number % 28) + 1).padStart(2, '0')}`,
      text: `${tenant} ${source} ${number}`,
      ref: `${tenant}-${context}-pair-${number}`,
    };
  });
}

export function csvOf(records: readonly DataRecord[]): string {
  const rows = records.map(({ id, amount, currency, date, text, ref }) =>
    [id, amount, currency, date, text, ref].join(','),
  );
  return ['id,amount,currency,date,text,ref', ...rows, ''].join('\n');
}

export const objectKeyOf = (jobId: string): string => `uploads/${jobId}.csv`;

/** Whether a context is matched every minute by itself, too: one context of every third tenant. */
export const isScheduled = (tenant: string, context: string): boolean =>
  context === 'bank' && Number(tenant.slice(3)) % 3 === 1;

export function contextJob(tenant: string, context: string, id: string): PlannedJob {
  const fieldMap = { external_id: 'id', amount: 'amount', currency: 'currency', date: 'date', description: 'text' };
  const definition = {
    name: context,
    type: '1:1',
    sources: Object.entries(sources).map(([name, side]) => ({ name, side, type: 'CUSTOM', fieldMap })),
    rules: [{ name: 'exact', priority: 1, type: 'EXACT', config: { referenceField: 'ref', matchDate: false } }],
    ...(isScheduled(tenant, context) && { schedule: { cron: '* * * * *', timezone: 'UTC' } }),
  };
  return planned(tenant, 'context.apply', id, { context: definition });
}

export const matchingJob = (tenant: string, context: string, id: string): PlannedJob =>
  planned(tenant, 'matching.run', id, { context, mode: 'COMMIT' });

export const exportJob = (tenant: string, context: string, id: string, report: string): PlannedJob =>
  planned(tenant, 'export.run', id, { context, report });

const planned = (tenant: string, type: JobType, id: string, body: object): PlannedJob => ({
  id,
  tenant,
  type,
  body: { version: 1, ...body },
  at: 0,
  twice: false,
});

/** Parts of the jobs of each type. */
const types: JobType[] = [
  ...Array<JobType>(5).fill('ingestion.run'),
  ...Array<JobType>(3).fill('matching.run'),
  ...Array<JobType>(3).fill('export.run'),
  ...Array<JobType>(3).fill('context.apply'),
];

/** A tenant that has so much more than the others. */
const noisyShare = 0.15;

/** All jobs of a run in the order in which they are due; each tenant's contexts are applied before. */
export function planWork(draw: Draw, options: { tenants: number; seconds: number; rate: number }): PlannedJob[] {
  const next = new Map<string, number>();
  const count = Math.round(options.seconds * options.rate);
  return Array.from({ length: count }, (_, i) => {
    const tenant = tenantName(draw.chance(noisyShare) ? 0 : draw.integer(0, options.tenants - 1));
    const type = draw.pick(types);
    const context = draw.pick(contexts);
    const id = `${tenant}-${type.split('.')[0]}-${String(i).padStart(5, '0')}`;
    const job = jobOf(draw, next, { tenant, type, context, id });
    return { ...job, at: (i * 1000) / options.rate, twice: draw.chance(0.03) };
  });
}

function jobOf(
  draw: Draw,
  next: Map<string, number>,
  { tenant, type, context, id }: { tenant: string; type: JobType; context: string; id: string },
): PlannedJob {
  if (type === 'context.apply') return contextJob(tenant, context, id);
  if (type === 'matching.run') return matchingJob(tenant, context, id);
  if (type === 'export.run') return exportJob(tenant, context, id, draw.pick(['MATCHED', 'UNMATCHED', 'EXCEPTIONS']));
  const source = draw.pick<Source>(['ledger', 'statement']);
  const place = `${tenant} ${context} ${source}`;
  const begin = next.get(place) ?? 0;
  const size = draw.chance(0.03) ? draw.integer(1000, 3000) : draw.integer(5, 30);
  next.set(place, begin + size);
  // One record of the file before comes again.
  const file: FilePart = { context, source, from: Math.max(0, begin - 1), to: begin + size - 1 };
  const body = { context, source, objectKey: objectKeyOf(id), format: 'CSV' };
  return { ...planned(tenant, type, id, body), file };
}
