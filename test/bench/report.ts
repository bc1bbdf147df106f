import { table } from '../../workers/cli/terminal-text.ts';

export interface Outcome {
  bench: string;
  /** Of what is measured to its baseline, in the same run: smaller is better. */
  ratio: number;
  /** What the ratio may be at most. */
  limit: number;
  [figure: string]: unknown;
}

/** Prints the table for people and the line for programs; a ratio above its limit makes the process fail. */
export function report(heads: string[], rows: string[][], outcome: Outcome): void {
  process.stdout.write(`${table(heads, rows)}\n\n${JSON.stringify(outcome)}\n`);
  process.exitCode = outcome.ratio <= outcome.limit ? 0 : 1;
}

/** The value in the middle; of an even number, the mean of the two there. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  return ((sorted[Math.ceil(middle) - 1] as number) + (sorted[Math.floor(middle)] as number)) / 2;
}

/** The smallest value that at least this part of all is not above. */
export function percentile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.ceil(values.length * part) - 1] as number;
}

export function rounded(value: number, digits = 3): number {
  return Number(value.toFixed(digits));
}
