import type { ContextDefinition } from '@matcher/shared/jobs/contracts/context.ts';
import { allocate } from './engine/allocate.ts';
import { explainOpen } from './engine/explain.ts';
import { matchOneToOne } from './engine/match.ts';
import type { Explanation, Finding, MatchInput } from './engine/types.ts';
import { type Found, type FoundMembers, OPEN_REASONS, type OpenRows } from './found.ts';
import type { OpenTransactions } from './read-open.ts';
import type { RunWatch } from './run-watch.ts';

/** What a run found, and how long (ms) the search for it and for the reasons of the rest took. */
export interface Matched {
  readonly found: Found;
  readonly matching: number;
  readonly explaining: number;
}

/**
 * Runs the engine in the calling thread.
 *
 * @throws the reason of the watch's cancellation.
 */
export function matchColumns(
  type: ContextDefinition['type'],
  { left, right }: OpenTransactions,
  { rules, forbidden }: Pick<MatchInput, 'rules' | 'forbidden'>,
  watch: RunWatch,
): Matched {
  watch.begin('matching', null);
  const input: MatchInput = {
    left: left.columns,
    right: right.columns,
    rules,
    forbidden,
    signal: watch.cancellation,
    onProgress: ({ pairs }) => watch.at(pairs),
  };
  return type === '1:1' ? pairsOf(input, watch) : groupsOf(input, type === 'N:M');
}

/** Of a `1:1` context. A pair is a group with one member on each side. */
function pairsOf(input: MatchInput, watch: RunWatch): Matched {
  const started = performance.now();
  const output = matchOneToOne(input);
  const { left, right, ...pairs } = output.pairs;
  const matched = performance.now();
  watch.begin('explaining', null);
  const explained = explainOpen(input, output);
  const start = new Int32Array(pairs.size + 1);
  for (let group = 0; group <= pairs.size; group++) start[group] = group;
  const found = {
    groups: {
      ...pairs,
      left: { start, rows: left, amounts: undefined },
      right: { start, rows: right, amounts: undefined },
    },
    open: { left: explainedRows(explained.left), right: explainedRows(explained.right) },
    rules: output.rules,
  };
  return { found, matching: matched - started, explaining: performance.now() - matched };
}

function groupsOf(input: MatchInput, manyWholes: boolean): Matched {
  const started = performance.now();
  const { groups, findings, rules } = allocate(input, manyWholes);
  const matched = performance.now();
  const found = {
    groups,
    open: {
      left: rowsWithFindings(input.left.size, groups.left, findings.left),
      right: rowsWithFindings(input.right.size, groups.right, findings.right),
    },
    rules,
  };
  return { found, matching: matched - started, explaining: performance.now() - matched };
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
  const rows = new Int32Array(size - members.rows.length);
  for (let row = 0, at = 0; row < size; row++) if (isTaken[row] === 0) rows[at++] = row;
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
