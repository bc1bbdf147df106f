import type { PoolClient, QueryConfig } from 'pg';

/** Statements that are prepared: those of the product are few, and a job that makes up a new one for every row is not to fill the server's memory. */
const most = 200;

const names = new Map<string, string>();
const seen = new Set<string>();

/** A statement with its values; from its second use on under a name, so that the server reads and plans it once for each connection. */
export function prepared(text: string, values: unknown[]): QueryConfig {
  const name = names.get(text);
  if (name !== undefined) return { name, text, values };
  if (!seen.has(text)) {
    if (seen.size < most) seen.add(text);
  } else if (names.size < most) {
    names.set(text, `matcher_${names.size}`);
  }
  return { text, values };
}

/** What the driver has and its types don't tell. */
interface Internals {
  connection: { parsedStatements: Record<string, string>; submittedNamedStatements?: Record<string, string> };
}

/** The server has forgotten what was prepared on this connection. */
export function forgetPrepared(client: PoolClient): void {
  const { connection } = client as PoolClient & Internals;
  connection.parsedStatements = {};
  if (connection.submittedNamedStatements) connection.submittedNamedStatements = {};
}
