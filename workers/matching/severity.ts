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
