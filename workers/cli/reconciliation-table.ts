import type { ReconciliationSummary } from './reconciliation.ts';
import { grouped, oneLine, table } from './terminal-text.ts';

/** Rejected records of a source that the table shows. */
const shownReasons = 3;

/** A reconciliation's summary for a person. */
export function reconciliationTable(summary: ReconciliationSummary): string {
  const { context, tenantId, sources, open, exports, seconds } = summary;
  const rules = Object.keys(summary.matched);
  const exceptions = Object.entries(summary.exceptions).map(([reason, count]) => `${reason} ${grouped(count)}`);
  const parts = [
    `${context} of tenant ${tenantId}, ${seconds.toFixed(1)} s`,
    table(
      ['SOURCE', 'SIDE', 'RECORDS', 'NEW', 'KNOWN', 'REJECTED'],
      sources.map((one) => [one.source, one.side, one.records, one.added, one.known, one.rejected]),
    ),
    rejectedLines(summary),
    table(
      ['RULE', 'GROUPS', 'CONFIRMED', 'PROPOSED'],
      rules.map((rule) => [
        rule,
        summary.matched[rule] ?? 0,
        summary.confirmed[rule] ?? 0,
        summary.proposed[rule] ?? 0,
      ]),
    ),
    `Open: ${grouped(open.left)} left, ${grouped(open.right)} right. Exceptions: ${exceptions.join(', ') || 'none'}.`,
    ...(exports.length > 0
      ? [
          table(
            ['REPORT', 'ROWS', 'BYTES', 'FILE'],
            exports.map((one) => [one.report, one.rows, one.bytes, one.file ?? one.fileName]),
          ),
          exports.map((one) => `${one.report}, until ${one.urlExpiresAt}:\n${oneLine(one.url)}`).join('\n'),
        ]
      : []),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function rejectedLines({ sources }: ReconciliationSummary): string {
  const lines = sources.flatMap(({ source, rejected, rejectedSample }) => {
    const shown = rejectedSample
      .slice(0, shownReasons)
      .map(({ file, row, reason }) => oneLine(`  ${source}, ${file}, record ${row}: ${reason}`));
    const more = rejected - shown.length;
    return more > 0 && shown.length > 0 ? [...shown, `  ${source}: and ${grouped(more)} more`] : shown;
  });
  return lines.length === 0 ? '' : ['Rejected records:', ...lines].join('\n');
}
