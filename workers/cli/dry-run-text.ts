import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import { matchingText } from './job-texts.ts';
import { grouped, oneLine, table } from './terminal-text.ts';

type Samples = NonNullable<JobResult<'matching.run'>['samples']>;
type Transaction = Samples['open'][number]['transaction'];

/** Characters of a record's own texts that are shown. */
const longest = 40;

/** What a dry run found, for a person who is to judge the rules: what each would match, some of it, and some of what would stay open. */
export function dryRunText(result: JobResult<'matching.run'>): string {
  const { samples = { matches: [], open: [] }, rules } = result;
  const parts = [
    matchingText(result),
    ...rules.map(({ rule, matched }) => {
      const matches = samples.matches.filter((match) => match.rule === rule);
      return matches.length === 0 ? '' : matchesText(rule, matched, matches);
    }),
    samples.open.length === 0 ? '' : openText(samples.open, result.open.left + result.open.right),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function matchesText(rule: string, matched: number, matches: Samples['matches']): string {
  const rows = matches.flatMap(({ confidence, left, right, items }) => {
    const lines = Array.from({ length: Math.max(left.length, right.length) }, (_, i) => [
      i === 0 ? `${confidence}` : '',
      ...cells(left[i]),
      ...cells(right[i]),
    ]);
    const more = items - left.length - right.length;
    return more > 0 ? [...lines, ['', `and ${grouped(more)} more`, '', '', '', '', '']] : lines;
  });
  const header = ['CONFIDENCE', 'LEFT', 'AMOUNT', 'DATE', 'RIGHT', 'AMOUNT', 'DATE'];
  return `${oneLine(`${rule}: ${matches.length} of ${grouped(matched)}, the least sure first`)}\n${table(header, rows)}`;
}

function openText(open: Samples['open'], all: number): string {
  const rows = open.flatMap(({ side, transaction, reason, rule, gap, nearMisses }) => {
    const own = [side, ...cells(transaction), reason];
    const finding = [rule, gap === undefined ? undefined : `gap ${gap}`].filter((text) => text !== undefined);
    const first = nearMisses.length === 0 ? [[...own, '', '', '', finding.join(', ')]] : [];
    const misses = nearMisses.map((miss, i) => [
      ...(i === 0 ? own : own.map(() => '')),
      ...cells(miss.transaction),
      `${miss.apart.join(' ')} (${miss.rule})`,
    ]);
    return [...first, ...misses];
  });
  const header = ['SIDE', 'RECORD', 'AMOUNT', 'DATE', 'REASON', 'NEAREST', 'AMOUNT', 'DATE', 'KEPT APART'];
  return `Open: ${open.length} of ${grouped(all)}, those with the nearest misses first\n${table(header, rows)}`;
}

/** Who it is, how much, when; blanks where there is none. */
function cells(transaction: Transaction | undefined): [string, string, string] {
  if (transaction === undefined) return ['', '', ''];
  const { source, externalId, amount, currency, date } = transaction;
  const id = externalId.length > longest ? `${externalId.slice(0, longest - 1)}…` : externalId;
  return [`${source}:${id}`, `${amount} ${currency}`, date.replace(/T00:00:00(\.000)?Z$/, '')];
}
