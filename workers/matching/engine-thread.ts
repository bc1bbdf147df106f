import { matchOneToOne } from './engine/match.ts';
import type { Columns, MatchOutput } from './engine/types.ts';
import type { EngineTask, PlainColumns } from './engine-pool.ts';

/** Runs in a worker thread: the engine over columns that were copied here. */
export default function run({ left, right, rules }: EngineTask): MatchOutput {
  return matchOneToOne({ left: withFields(left), right: withFields(right), rules });
}

function withFields({ fields, ...columns }: PlainColumns): Columns {
  return { ...columns, field: (name) => fields.get(name) ?? new Array<null>(columns.size).fill(null) };
}
