/** A row in the text format of COPY: columns by tab, `\N` for null. PostgreSQL manual, "COPY", File Formats. */
export function copyRow(columns: readonly (string | number | bigint | null)[]): string {
  let row = '';
  for (let i = 0; i < columns.length; i++) {
    const value = columns[i];
    if (i > 0) row += '\t';
    if (value === null || value === undefined) row += '\\N';
    else if (typeof value === 'string') row += escapeText(value);
    else row += value;
  }
  return `${row}\n`;
}

const special = /[\\\t\n\r]/;
const everySpecial = new RegExp(special, 'g');
const escapes: Record<string, string> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' };

function escapeText(text: string): string {
  // Most values have nothing to escape, and the test is much cheaper than the replacement.
  return special.test(text) ? text.replace(everySpecial, (char) => escapes[char] as string) : text;
}

/** Gathers small rows into chunks, since a write per row costs more than the row. */
export async function* inChunks(
  rows: AsyncIterable<string> | Iterable<string>,
  size = 64 * 1024,
): AsyncGenerator<string> {
  let chunk = '';
  for await (const row of rows) {
    chunk += row;
    if (chunk.length < size) continue;
    yield chunk;
    chunk = '';
  }
  if (chunk !== '') yield chunk;
}
