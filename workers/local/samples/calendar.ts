import type { Draw } from './draw.ts';

const SECONDS_PER_DAY = 86_400;
const FIRST_DAY = Date.UTC(2026, 0, 5) / 1000 / SECONDS_PER_DAY;

/** Days are numbered from 2026-01-05. The last is 2026-03-29, so that two months end within the period. */
export const LAST_DAY = 83;

/** The offsets in which ledgers of different offices print the same instant. */
const OFFSETS: readonly [string, number][] = [
  ['-03:00', -180],
  ['+09:00', 540],
  ['+05:30', 330],
];

export function dateOf(day: number): string {
  return new Date((FIRST_DAY + day) * SECONDS_PER_DAY * 1000).toISOString().slice(0, 10);
}

/**
 * An instant whose UTC day is `day`, as an ISO 8601 text. One in seven lies within two seconds of midnight UTC and
 * one in five is printed with an offset, so that its printed date is often not its UTC date.
 */
export function instantOf(draw: Draw, purpose: string, index: number, day: number): string {
  const second = draw.chance(`${purpose}/near midnight`, index, 1 / 7)
    ? draw.pick(`${purpose}/second`, index, [0, 1, SECONDS_PER_DAY - 2, SECONDS_PER_DAY - 1])
    : draw.integer(`${purpose}/second`, index, 0, SECONDS_PER_DAY - 1);
  const instant = ((FIRST_DAY + day) * SECONDS_PER_DAY + second) * 1000;
  if (!draw.chance(`${purpose}/with offset`, index, 1 / 5)) {
    const text = new Date(instant).toISOString();
    return draw.chance(`${purpose}/with milliseconds`, index, 1 / 20) ? text : text.replace('.000Z', 'Z');
  }
  const [offset, minutes] = OFFSETS[draw.integer(`${purpose}/offset`, index, 0, OFFSETS.length - 1)] ?? ['+00:00', 0];
  return new Date(instant + minutes * 60_000).toISOString().replace('.000Z', offset);
}
