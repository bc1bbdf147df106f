export type Severity = 'CRITICAL' | 'HIGH' | 'MEDIUM' | 'LOW';

interface Level {
  severity: Severity;
  fromAmount: number;
  fromAgeHours: number;
  dueHours: number;
}

/** Matching reference, "Exceptions": by amount or age, the first level that holds. */
const levels: readonly Level[] = [
  { severity: 'CRITICAL', fromAmount: 100_000, fromAgeHours: 120, dueHours: 24 },
  { severity: 'HIGH', fromAmount: 10_000, fromAgeHours: 72, dueHours: 72 },
  { severity: 'MEDIUM', fromAmount: 1_000, fromAgeHours: 24, dueHours: 120 },
  { severity: 'LOW', fromAmount: 0, fromAgeHours: 0, dueHours: 168 },
];

export const HOUR_MS = 3_600_000;
const ONE = 1e8;

export type Urgency = Readonly<Pick<Level, 'severity' | 'dueHours'>>;

/**
 * @param amount in units of 10^-8, in the base currency where it is known; beyond 2^53 it need not be exact.
 * @param ageMs since the transaction's own time.
 */
export function urgencyOf(amount: number, ageMs: number): Urgency {
  const size = Math.abs(amount);
  for (const level of levels) {
    if (size >= level.fromAmount * ONE || ageMs >= level.fromAgeHours * HOUR_MS) return level;
  }
  return levels[levels.length - 1] as Level;
}

export const severities: readonly Severity[] = levels.map(({ severity }) => severity);

/** The levels as an SQL expression each for severity and due time, over a row with `amount`, `amount_base` and `occurred_at`. */
export const severitySql = choice(({ severity }) => `'${severity}'`);
export const dueSql = choice(({ dueHours }) => `now() + interval '${dueHours} hours'`);

function choice(value: (level: Level) => string): string {
  const cases = levels.map(
    (level) =>
      `WHEN abs(coalesce(amount_base, amount)) >= ${level.fromAmount} OR now() - occurred_at >= interval '${level.fromAgeHours} hours' THEN ${value(level)}`,
  );
  return `CASE ${cases.join(' ')} END`;
}
