import { createRequire } from 'node:module';

/** The package's data is CommonJS without named exports. Its list is ISO 4217, amendment by amendment. */
const { codes, code } = createRequire(import.meta.url)('currency-codes') as {
  codes(): string[];
  code(alphabetic: string): { digits: number } | undefined;
};

const known: ReadonlyMap<string, number> = new Map(codes().map((each) => [each, code(each)?.digits ?? 2]));

/** Whether `text` is an alphabetic code of ISO 4217, in upper case. */
export function isCurrency(text: string): boolean {
  return known.has(text);
}

/** The currencies whose minor unit has not two decimals, for SQL that has to know. */
export function unusualMinorDigits(): [currency: string, digits: number][] {
  return [...known].filter(([, digits]) => digits !== 2);
}
