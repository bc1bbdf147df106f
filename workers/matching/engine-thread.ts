import { allocate } from './engine/allocate.ts';
import { explainOpen } from './engine/explain.ts';
import { matchOneToOne } from './engine/match.ts';
import { packed } from './engine/pack.ts';
import type { Columns, Explanation, Finding, MatchInput } from './engine/types.ts';
import type { EngineTask, PlainColumns } from './engine-pool.ts';
import { type Found, type FoundMembers, OPEN_REASONS, type OpenRows } from './found.ts';

/** Runs in a worker thread: the engine over columns that were copied here. */
export default function run({ type, left, right, rules }: EngineTask): Found {
  const input = { left: packed(withFields(left)), right: packed(withFields(right)), rules };
  return type === '1:1' ? pairsOf(input) : groupsOf(input, type === 'N:M');
}

function withFields({ fields, ...columns }: PlainColumns): Columns {
  return { ...columns, field: (name) => fields.get(name) ?? new Array<null>(columns.size).fill(null) };
}

/** Of a `1:1` context. A pair is a group with one member on each side. */
function pairsOf(input: MatchInput): Found {
  const output = matchOneToOne(input);
  const { left, right, ...pairs } = output.pairs;
  const start = Int32Array.from({ length: pairs.size + 1 }, (_, group) => group);
  const explained = explainOpen(input, output);
  return {
    groups: {
      ...pairs,
      left: { start, rows: left, amounts: undefined },
      right: { start, rows: right, amounts: undefined },
    },
    open: { left: explainedRows(explained.left), right: explainedRows(explained.right) },
    rules: output.rules,
  };
}

function groupsOf(input: MatchInput, manyWholes: boolean): Found {
  const { groups, findings, rules } = allocate(input, manyWholes);
  return {
    groups,
    open: {
      left: rowsWithFindings(input.left.size, groups.left, findings.left),
      right: rowsWithFindings(input.right.size, groups.right, findings.right),
    },
    rules,
  };
}

function explainedRows(explanations: readonly Explanation[]): OpenRows {
  const misses = explanations.flatMap(({ nearMisses }) => nearMisses);
  const missStart = new Int32Array(explanations.length + 1);
  explanations.forEach(({ nearMisses }, i) => {
    missStart[i + 1] = (missStart[i] as number) + nearMisses.length;
  });
  return {
    rows: Int32Array.from(explanations, ({ row }) => row),
    reason: Uint8Array.from(explanations, ({ reason }) => OPEN_REASONS.indexOf(reason)),
    missStart,
    missRow: Int32Array.from(misses, ({ row }) => row),
    missRule: Int32Array.from(misses, ({ rule }) => rule),
    missApart: Uint16Array.from(misses, ({ apart }) => apart),
    findings: new Map(),
  };
}

function rowsWithFindings(size: number, members: FoundMembers, findings: ReadonlyMap<number, Finding>): OpenRows {
  const isTaken = new Uint8Array(size);
  for (const row of members.rows) isTaken[row] = 1;
  const rows = Int32Array.from({ length: size }, (_, row) => row).filter((row) => isTaken[row] === 0);
  const none = new Int32Array(0);
  return {
    rows,
    reason: Uint8Array.from(rows, (row) => OPEN_REASONS.indexOf(findings.get(row)?.reason ?? 'UNMATCHED')),
    missStart: new Int32Array(rows.length + 1),
    missRow: none,
    missRule: none,
    missApart: new Uint16Array(0),
    findings,
  };
}
