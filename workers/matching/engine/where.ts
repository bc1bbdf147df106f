import type { Condition } from '@matcher/shared/jobs/contracts/rules.ts';
import { textAt } from './packed-text.ts';
import type { Side } from './side.ts';

/** Marks the rows of a side of which all conditions hold; undefined when there are no conditions. */
export function rowsWhere(side: Side, conditions: readonly Condition[]): Uint8Array | undefined {
  if (conditions.length === 0) return undefined;
  const marks = new Uint8Array(side.size).fill(1);
  for (const condition of conditions) {
    const text = side.text(condition.field);
    const holds = testOf(condition);
    for (let row = 0; row < side.size; row++) {
      if (marks[row] === 1 && !holds(textAt(text, row).trim())) marks[row] = 0;
    }
  }
  return marks;
}

/** A condition on a trimmed text; a blank one does not exist, equals nothing and is in no list. */
function testOf({ operator, value = '', values = [] }: Condition): (text: string) => boolean {
  const wanted = value.trim();
  const list = new Set(values.map((one) => one.trim()));
  switch (operator) {
    case 'EQUALS':
      return (text) => text !== '' && text === wanted;
    case 'NOT_EQUALS':
      return (text) => text === '' || text !== wanted;
    case 'IN':
      return (text) => text !== '' && list.has(text);
    case 'NOT_IN':
      return (text) => text === '' || !list.has(text);
    case 'EXISTS':
      return (text) => text !== '';
    case 'NOT_EXISTS':
      return (text) => text === '';
  }
}
