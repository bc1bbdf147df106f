import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Client } from 'pg';
import { from as copyFrom } from 'pg-copy-streams';
import { textAt } from '../../workers/matching/engine/packed-text.ts';
import type { MadeSide } from './million.ts';

/** The loads of a context, one a side. */
export interface LoadedSides {
  left: number;
  right: number;
}

const CHUNK = 2000;
const CENT = 1_000_000; // in 10^-8

/** Puts both sides into a context as ingestion does: one load each, its transactions in their order. */
export async function loadSides(
  database: Client,
  context: string,
  sides: { left: MadeSide; right: MadeSide },
): Promise<LoadedSides> {
  return {
    left: await loadSide(database, context, 'ledger', sides.left),
    right: await loadSide(database, context, 'statement', sides.right),
  };
}

async function loadSide(database: Client, context: string, source: string, side: MadeSide): Promise<number> {
  const { rows } = await database.query<{ load: number; source: number }>(
    `INSERT INTO loads (context_id, source_id, job_id, records)
     SELECT c.id, s.id, $3, $4 FROM contexts c JOIN sources s ON s.context_id = c.id WHERE c.name = $1 AND s.name = $2
     RETURNING id AS load, source_id AS source`,
    [context, source, randomUUID(), side.size],
  );
  const made = rows[0] as { load: number; source: number };
  await pipeline(
    Readable.from(lines(made, side)),
    database.query(
      copyFrom('COPY transactions (id, source_id, external_id, amount, currency, occurred_at, metadata) FROM STDIN'),
    ),
  );
  return made.load;
}

/** In the text format of COPY; nothing here has a character that it escapes. */
function* lines({ load, source }: { load: number; source: number }, side: MadeSide): Generator<string> {
  const { size, externalId, amount, currency, timestamp, reference } = side;
  const first = load * 2 ** 26 + 1;
  for (let from = 0; from < size; from += CHUNK) {
    const chunk = Array.from({ length: Math.min(CHUNK, size - from) }, (_, i) => {
      const row = from + i;
      const cents = (amount.low[row] as number) / CENT;
      const code = currency.names[currency.codes[row] as number];
      const occurred = new Date(timestamp[row] as number).toISOString();
      return `${first + row}\t${source}\t${textAt(externalId, row)}\t${(cents / 100).toFixed(2)}\t${code}\t${occurred}\t{"reference": "${textAt(reference, row)}"}\n`;
    });
    yield chunk.join('');
  }
}
