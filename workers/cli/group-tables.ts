import type { GroupDetails, GroupSide, ListedGroup } from './match-groups.ts';
import { grouped, manyLines, namedValues, oneLine, table } from './terminal-text.ts';

/** Groups for a person. */

export function groupsTable(groups: readonly ListedGroup[]): string {
  return table(
    ['GROUP', 'STATUS', 'RULE', 'CONFIDENCE', 'LEFT', 'RIGHT'],
    groups.map(({ groupId, status, rule, confidence, left, right }) => [
      groupId,
      status,
      rule,
      String(confidence),
      sideText(left),
      sideText(right),
    ]),
  );
}

/** `ledger:4711 120.5 EUR`; of several records, the first one and how many more. */
function sideText({ records, amount, currency, first }: GroupSide): string {
  const others = records > 1 ? ` and ${grouped(records - 1)} more,` : '';
  return `${first.source}:${first.externalId}${others} ${amount === null ? 'several currencies' : `${amount} ${currency}`}`;
}

export function groupText(group: GroupDetails): string {
  const { scores } = group;
  const held = scores && Object.entries(scores).map(([part, score]) => `${part} ${score}`);
  const lines = namedValues([
    ['group', group.groupId],
    ['context', group.context],
    ['status', group.status],
    ['rule', group.rule],
    ['confidence', held === null ? String(group.confidence) : `${group.confidence} (${held.join(', ')})`],
    ['made by', `job ${group.madeBy}, ${group.madeAt.toISOString()}`],
  ]);
  const items = table(
    ['SIDE', 'SOURCE', 'RECORD', 'AMOUNT', 'IN GROUP', 'CURRENCY', 'DATE', 'DESCRIPTION'],
    group.items.map(({ side, source, externalId, amount, allocated, currency, date, description }) => [
      side,
      source,
      externalId,
      amount,
      allocated,
      currency,
      date.toISOString().replace('.000Z', 'Z'),
      description ?? '',
    ]),
  );
  const decisions = group.decisions.map(({ status, reason, decidedBy, decidedAt, jobId }) =>
    oneLine(
      `${decidedAt.toISOString()} ${status} by ${decidedBy ?? 'somebody'} (job ${jobId})${reason === null ? '' : `: ${reason}`}`,
    ),
  );
  return manyLines(
    [...lines, '', items, ...(decisions.length === 0 ? [] : ['', 'Decisions:', ...decisions])].join('\n'),
  );
}
