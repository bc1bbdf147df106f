/** PostgreSQL's units of time, in milliseconds (its manual, "Parameter Names and Values"). */
const units: Record<string, number> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** The most that PostgreSQL takes for `statement_timeout`. */
const longest = 2_147_483_647;

/**
 * Reads a `statementTimeout`: what existing servers send is the text that PostgreSQL would take (`30s`, `500ms`, `5min`; without a unit milliseconds, `0`
 * for no limit). A number is milliseconds, too, except that 0 means not set, as servers written in Go say it.
 *
 * @returns milliseconds, 0 for no limit, or `undefined` when it is not set.
 * @throws Error whose message completes the sentence "statementTimeout …".
 */
export function readStatementTimeout(value: unknown): number | undefined {
  if (value === undefined || value === null || value === '' || value === 0) return undefined;
  const [, number, unit] = /^\s*\+?(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(String(value)) ?? [];
  const factor = unit === '' ? 1 : units[unit ?? ''];
  const exact = Number(number) * (factor ?? Number.NaN);
  if ((typeof value !== 'string' && typeof value !== 'number') || !(exact <= longest)) {
    throw new Error(
      `is ${JSON.stringify(value)?.slice(0, 100)}; it takes a time as PostgreSQL does: 30000, "30s", "5min"`,
    );
  }
  // What is not nothing must not become it: 0 would be without end.
  return exact === 0 ? 0 : Math.max(1, Math.round(exact));
}
