import type { DeadLetter } from '@matcher/shared/rabbitmq/dead-letter.ts';
import type { HeldLetter } from '@matcher/shared/rabbitmq/dead-letters.ts';
import type { Invocation } from './invocation.ts';
import { grouped } from './terminal-text.ts';

/** Which dead letters are meant; what is absent means all. */
export interface Selection {
  type?: string;
  reason?: string;
  id?: string;
}

export function isSelected({ type, code, jobId }: DeadLetter, wanted: Selection): boolean {
  return (
    (wanted.type === undefined || type === wanted.type) &&
    (wanted.reason === undefined || code === wanted.reason) &&
    (wanted.id === undefined || jobId === wanted.id)
  );
}

/** Those of the letters that are meant. The reading ends early when the user wishes so. */
export async function* selected(
  letters: AsyncIterable<HeldLetter>,
  wanted: Selection,
  { out, signal }: Pick<Invocation, 'out' | 'signal'>,
): AsyncGenerator<HeldLetter, void, void> {
  let seen = 0;
  for await (const held of letters) {
    signal.throwIfAborted();
    if (++seen % 1000 === 0) out.progress('dead letters', 'reading', grouped(seen));
    if (isSelected(held.letter, wanted)) yield held;
  }
}

export function countOne(counts: Record<string, number>, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}
