import type { JobResult } from '@matcher/shared/jobs/contracts/results.ts';
import { grouped, manyLines, oneLine, table } from './terminal-text.ts';

/** The results of jobs for a person. */

/** Rejected records that are shown. */
const shownReasons = 5;

export function ingestionLine({ records, added, known, rejected }: JobResult<'ingestion.run'>): string {
  const counts = [`${grouped(added)} new`, `${grouped(known)} known`, `${grouped(rejected)} rejected`];
  return `${grouped(records)} records: ${counts.join(', ')}`;
}

export function ingestionText(result: JobResult<'ingestion.run'>): string {
  const shown = result.rejectedSample.slice(0, shownReasons);
  const more = result.rejected - shown.length;
  return [
    oneLine(`${result.context}, ${result.source}: ${ingestionLine(result)}`),
    ...shown.map(({ row, reason }) => oneLine(`  record ${row}: ${reason}`)),
    ...(more > 0 ? [`  and ${grouped(more)} more`] : []),
  ].join('\n');
}

export function matchingText({
  context,
  mode,
  left,
  right,
  rules,
  open,
  exceptions,
}: JobResult<'matching.run'>): string {
  const reasons = Object.entries(exceptions).map(([reason, count]) => `${reason} ${grouped(count)}`);
  return [
    oneLine(
      `${context}: looked at ${grouped(left)} left, ${grouped(right)} right${mode === 'DRY_RUN' ? '; dry run, nothing was changed' : ''}`,
    ),
    table(
      ['RULE', 'TYPE', 'GROUPS', 'CONFIRMED', 'PROPOSED'],
      rules.map(({ rule, type, matched, confirmed, proposed }) => [rule, type, matched, confirmed, proposed]),
    ),
    oneLine(
      `Open: ${grouped(open.left)} left, ${grouped(open.right)} right. Exceptions: ${reasons.join(', ') || 'none'}.`,
    ),
  ].join('\n');
}

export function decisionText({
  context,
  status,
  groups,
  transactions,
}: JobResult<'matching.confirm' | 'matching.reject' | 'matching.revoke'>): string {
  const open = status === 'CONFIRMED' ? '' : `; ${grouped(transactions)} records are open again`;
  return oneLine(`${context}: ${grouped(groups)} ${groups === 1 ? 'group is' : 'groups are'} ${status}${open}`);
}

export function manualText({ context, matchId, gap }: JobResult<'matching.manual'>): string {
  const left = gap === null ? '; of several currencies' : gap === '0' ? '' : `; the gap is ${gap}`;
  return oneLine(`${context}: group ${matchId} is CONFIRMED${left}`);
}

/** @param file is where it was downloaded to; without one, the link is shown. */
export function exportText(
  { report, rows, bytes, sha256, url, urlExpiresAt }: JobResult<'export.run'>,
  file?: string,
): string {
  const what = `${report}: ${grouped(rows)} rows, ${grouped(bytes)} bytes, SHA-256 ${sha256}`;
  return manyLines(file === undefined ? `${what}\nUntil ${urlExpiresAt}: ${url}` : `${what}\n${file}`);
}

/** Of a job whose type is only known from its result. */
export function resultText(result: unknown): string {
  if (typeof result !== 'object' || result === null) return 'done';
  if ('rejectedSample' in result) return ingestionText(result as JobResult<'ingestion.run'>);
  if ('rules' in result) return matchingText(result as JobResult<'matching.run'>);
  if ('matchId' in result) return manualText(result as JobResult<'matching.manual'>);
  if ('groups' in result) return decisionText(result as JobResult<'matching.confirm'>);
  if ('objectKey' in result) return exportText(result as JobResult<'export.run'>);
  return manyLines(JSON.stringify(result));
}
