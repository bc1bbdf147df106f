/** What a message may quote of a file: short, and nothing that a database refuses or a terminal obeys. */
export function quoted(text: string, length: number): string {
  return text
    .slice(0, length)
    .toWellFormed()
    .replace(/\p{Cc}/gu, '\uFFFD');
}
