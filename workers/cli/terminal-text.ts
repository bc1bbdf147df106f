/**
 * Text from data, files and servers may hold what a terminal would obey: escape sequences, cursor movements, marks that
 * turn the direction of writing. None of it may reach the screen.
 */
const obeyed = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;
const obeyedExceptLineEnds = /(?!\n)[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu;

export function oneLine(text: string): string {
  return text.replace(/\s*[\r\n]\s*/g, ' ').replace(obeyed, '');
}

export function manyLines(text: string): string {
  return text.replace(obeyedExceptLineEnds, '');
}

export function grouped(count: number): string {
  return count.toLocaleString('en-US');
}

type Value = string | number | null | undefined;

/** A line for each name and its value, the values below each other; what has none is left out. */
export function namedValues(lines: readonly (readonly [name: string, value: Value])[]): string[] {
  const width = Math.max(...lines.map(([name]) => name.length)) + 2;
  return lines.flatMap(([name, value]) =>
    value === null || value === undefined ? [] : [`${`${name}:`.padEnd(width)}${oneLine(String(value))}`],
  );
}

type Cell = string | number;

/** Columns in step; numbers to the right, with their thousands apart. */
export function table(header: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const cells = rows.map((row) => row.map((cell) => (typeof cell === 'number' ? grouped(cell) : oneLine(cell))));
  const widths = header.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => (row[column] ?? '').length)),
  );
  const toTheRight = header.map((_, column) => rows.length > 0 && rows.every((row) => typeof row[column] === 'number'));
  const line = (row: readonly string[]) =>
    row
      .map((text, column) =>
        toTheRight[column] ? text.padStart(widths[column] as number) : text.padEnd(widths[column] as number),
      )
      .join('  ')
      .trimEnd();
  return [line(header), ...cells.map(line)].join('\n');
}
