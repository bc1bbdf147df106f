import type { JobBodyInput } from '@matcher/shared/jobs/contracts/bodies.ts';
import type { ContextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import type { TestTenant } from './fleet.ts';

type ContextInput = JobBodyInput<'context.apply'>['context'];

const fieldMap: ContextDefinition['sources'][number]['fieldMap'] = {
  external_id: 'id',
  amount: 'amount',
  currency: 'currency',
  date: 'date',
  description: 'text',
};

/** A context with one source a side, and one rule: same reference, amount and currency. */
export function simpleContext(overrides: Partial<ContextInput> = {}): ContextInput {
  return {
    name: 'bank',
    type: '1:1',
    sources: [
      { name: 'ledger', side: 'LEFT', type: 'LEDGER', fieldMap },
      { name: 'statement', side: 'RIGHT', type: 'BANK', fieldMap },
    ],
    rules: [{ name: 'exact', priority: 1, type: 'EXACT', config: { referenceField: 'ref', matchDate: false } }],
    ...overrides,
  };
}

export interface Line {
  id: string;
  amount: string;
  ref: string;
  currency?: string;
  date?: string;
  text?: string;
}

export function csv(lines: readonly Line[]): string {
  const rows = lines.map(({ id, amount, currency = 'EUR', date = '2026-01-15', text = '', ref }) =>
    [id, amount, currency, date, `"${text.replaceAll('"', '""')}"`, ref].join(','),
  );
  return ['id,amount,currency,date,text,ref', ...rows, ''].join('\n');
}

/** Uploads a file and loads it; the result as the job gives it. */
export async function load(
  tenant: TestTenant,
  source: 'ledger' | 'statement',
  content: string,
  format: 'CSV' | 'JSON' = 'CSV',
) {
  const objectKey = `uploads/${crypto.randomUUID()}`;
  await tenant.objects.put(objectKey, content);
  return await tenant.run('ingestion.run', { version: 1, context: 'bank', source, objectKey, format });
}

/** `count` pairs with references of their own: l1 = r1, l2 = r2 and so on. */
export async function loadPairs(tenant: TestTenant, count: number, from = 1): Promise<void> {
  const lines = (prefix: string) =>
    Array.from({ length: count }, (_, i) => ({
      id: `${prefix}${from + i}`,
      amount: `${from + i}.10`,
      ref: `R${from + i}`,
    }));
  await Promise.all([load(tenant, 'ledger', csv(lines('l'))), load(tenant, 'statement', csv(lines('r')))]);
}
