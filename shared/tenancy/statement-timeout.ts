/** PostgreSQL's units of time, in milliseconds (its manual, "Parameter Names and Values"). */
const units: Record<string, number> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** Those of Go's `time.Duration`, which writes several after each other: `1m30s`. */
const goUnits: Record<string, number> = {
  ns: 1e-6,
  us: 0.001,
  µs: 0.001,
  μs: 0.001,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** The most that PostgreSQL takes for `statement_timeout`. */
const longest = 2_147_483_647;

/**
 * Reads a `statementTimeout`: what existing servers send is the text that PostgreSQL would take (`30s`, `500ms`, `5min`; without a unit milliseconds, `0`
 * for no limit), or a duration as Go writes it (`5m0s`). A number is milliseconds, too, except that 0 means not set, as servers written in Go say it.
 *
 * @returns milliseconds, 0 for no limit, or `undefined` when it is not set.
 * @throws Error whose message completes the sentence "statementTimeout …".
 */
export function readStatementTimeout(value: unknown): number | undefined {
  if (value === undefined || value === null || value === '' || value === 0) return undefined;
  const exact = typeof value === 'string' || typeof value === 'number' ? millisecondsOf(String(value)) : Number.NaN;
  if (!(exact <= longest)) {
    throw new Error(
      `is ${JSON.stringify(value)?.slice(0, 100)}; it takes a time as PostgreSQL does: 30000, "30s", "5min"`,
    );
  }
  // What is not nothing must not become it: 0 would be without end.
  return exact === 0 ? 0 : Math.max(1, Math.round(exact));
}

/** @returns `NaN` for what is no time. */
function millisecondsOf(text: string): number {
  const [, number, unit] = /^\s*\+?(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/.exec(text) ?? [];
  const factor = unit === '' ? 1 : units[unit ?? ''];
  if (factor !== undefined) return Number(number) * factor;
  if (!/^\+?(?:(?:\d+\.?\d*|\.\d+)(?:ns|[uµμm]?s|[mh]))+$/.test(text)) return Number.NaN;
  let sum = 0;
  for (const [, amount, of = ''] of text.matchAll(/([\d.]+)([a-zµμ]+)/g))
    sum += Number(amount) * (goUnits[of] ?? Number.NaN);
  return sum;
}
