import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { parseAmount } from '@matcher/shared/money/decimal.ts';
import {
  dayOf,
  holds,
  type NaiveForbidden,
  type NaiveRecord,
  naiveSimilarity,
  sameReference,
} from './naive-matching.ts';

/**
 * Allocation as the rules define it, by trying all subsets. Exponential on purpose; it shares no code with the engine, so that both can
 * be held against each other. Records must differ in source and external id, so that their order is total.
 */

export interface NaiveGroup {
  rule: number;
  left: number[];
  right: number[];
  confidence: number;
  /** What the whole of a partial group gets. */
  partial?: bigint;
}

type SideName = 'left' | 'right';

export function allocateNaively(
  left: NaiveRecord[],
  right: NaiveRecord[],
  rules: Rule[],
  manyWholes: boolean,
  forbidden: NaiveForbidden = [],
): { groups: NaiveGroup[]; reasons: Map<string, string> } {
  const records = { left, right };
  const open = { left: new Set(left.keys()), right: new Set(right.keys()) };
  const groups: NaiveGroup[] = [];
  const reasons = new Map<string, string>();
  for (const [index, rule] of [...rules.entries()].sort(([, a], [, b]) => a.priority - b.priority)) {
    const { config } = rule;
    const [W, P]: SideName[] = config.allocationDirection === 'LEFT_TO_RIGHT' ? ['left', 'right'] : ['right', 'left'];
    const [wholeSide, partSide] = [W as SideName, P as SideName];
    const base = config.allocationUseBaseAmount || ('matchBaseAmount' in config && config.matchBaseAmount);
    const amountOf = (record: NaiveRecord) => (base ? record.amountBase : record.amount) as bigint;
    const usable = (side: SideName) => {
      const rows = [...open[side]].filter((row) => {
        const record = records[side][row] as NaiveRecord;
        if (!config.where[side].every((one) => holds(one, record))) return false;
        if (rule.type !== 'DATE_LAG' && rule.config.matchBaseCurrency && record.baseCurrency === null) return false;
        if (base && record.amountBase === null) reasons.set(`${side} ${row}`, 'MISSING_BASE_AMOUNT');
        return !base || record.amountBase !== null;
      });
      return rows.sort((a, b) => byOrder(records[side][a] as NaiveRecord, records[side][b] as NaiveRecord));
    };
    const [wholes, parts] = [usable(wholeSide), usable(partSide)];
    const whole = (row: number) => records[wholeSide][row] as NaiveRecord;
    const part = (row: number) => records[partSide][row] as NaiveRecord;
    const sum = (rows: number[], of: (row: number) => NaiveRecord) =>
      rows.reduce((s, row) => s + amountOf(of(row)), 0n);
    const agree = (some: number[], many: number[]) => {
      const target = sum(some, whole);
      const value = parseAmount(config.allocationToleranceValue);
      const allowed = config.allocationToleranceMode === 'ABS' ? value * 10n ** 8n : value * abs(target);
      return abs(target - sum(many, part)) * 10n ** 8n <= allowed;
    };
    const days = (some: number[], many: number[]) => {
      const day = Math.max(...some.map((row) => dayOf(whole(row))));
      return many.map((row) => Math.abs(dayOf(part(row)) - day)).reduce((a, b) => a + b, 0);
    };
    /** Nearest first: fewest parts, then fewest days, then the smallest records. `parts` are in order. */
    const compare = (some: number[], a: number[], b: number[]) =>
      a.length - b.length ||
      days(some, a) - days(some, b) ||
      lexical(
        a.map((row) => parts.indexOf(row)),
        b.map((row) => parts.indexOf(row)),
      );
    const best = (some: number[], from: number[]): number[] | undefined =>
      subsets(from)
        .filter((subset) => subset.length > 0 && agree(some, subset))
        .sort((a, b) => compare(some, a, b))[0];
    const take = (some: number[], many: number[], partial?: bigint): boolean => {
      const confidence = confidenceOf(rule, some.map(whole), many.map(part), sum(some, whole), sum(many, part));
      if (confidence < 60) return false;
      groups.push({
        rule: index,
        [wholeSide]: some,
        [partSide]: many,
        confidence,
        ...(partial === undefined ? {} : { partial }),
      } as unknown as NaiveGroup);
      for (const row of some) {
        open[wholeSide].delete(row);
        reasons.delete(`${wholeSide} ${row}`);
      }
      for (const row of many) {
        open[partSide].delete(row);
        reasons.delete(`${partSide} ${row}`);
      }
      return true;
    };
    const allowed = (w: number, p: number) =>
      !forbidden.some(([l, r]) => (wholeSide === 'left' ? l === w && r === p : l === p && r === w));
    const pairable = (w: number, p: number) =>
      wholeSide === 'left' ? alike(rule, whole(w), part(p)) : alike(rule, part(p), whole(w));

    if (config.groupBy === undefined) {
      const unsure = new Set<number>();
      for (;;) {
        const choices = wholes
          .filter((w) => open[wholeSide].has(w) && !unsure.has(w))
          .map((w) => ({
            w,
            subset: best(
              [w],
              parts.filter((p) => open[partSide].has(p) && pairable(w, p) && allowed(w, p)),
            ),
          }))
          .filter(({ subset }) => subset !== undefined) as { w: number; subset: number[] }[];
        choices.sort(
          (a, b) =>
            a.subset.length - b.subset.length ||
            days([a.w], a.subset) - days([b.w], b.subset) ||
            wholes.indexOf(a.w) - wholes.indexOf(b.w),
        );
        const [first] = choices;
        if (first === undefined) break;
        if (!take([first.w], first.subset)) unsure.add(first.w);
      }
      for (const w of wholes) {
        const left = parts.filter((p) => open[partSide].has(p) && pairable(w, p) && allowed(w, p));
        if (open[wholeSide].has(w) && left.length > 0 && !unsure.has(w))
          reasons.set(`${wholeSide} ${w}`, 'SPLIT_INCOMPLETE');
      }
      continue;
    }

    for (const { some, many } of bound(rule, wholes, parts, whole, part, wholeSide, manyWholes, pairable)) {
      const from = many.filter((row) => open[partSide].has(row) && some.every((w) => allowed(w, row)));
      if (from.length === 0) continue;
      if (agree(some, from) && take(some, from)) continue;
      const subset = best(some, from);
      if (subset) {
        if (take(some, subset)) continue;
      } else if (config.allowPartial && some.length === 1) {
        const [target, total] = [sum(some, whole), sum(from, part)];
        if (target * total > 0n && abs(total) < abs(target) && take(some, from, total)) continue;
      }
      for (const row of some) reasons.set(`${wholeSide} ${row}`, 'SPLIT_INCOMPLETE');
      for (const row of from) reasons.set(`${partSide} ${row}`, 'SPLIT_INCOMPLETE');
    }
  }
  return { groups, reasons };
}

function bound(
  rule: Rule,
  wholes: number[],
  parts: number[],
  whole: (row: number) => NaiveRecord,
  part: (row: number) => NaiveRecord,
  wholeSide: SideName,
  manyWholes: boolean,
  pairable: (w: number, p: number) => boolean,
): { some: number[]; many: number[] }[] {
  const { groupBy } = rule.config;
  if (!Array.isArray(groupBy)) {
    const { side, listField, separator, names } = groupBy as Exclude<typeof groupBy, string[] | undefined>;
    const links = (w: number, p: number) => {
      const wholeLists = side.toLowerCase() === wholeSide;
      const [lister, named] = wholeLists ? [whole(w), part(p)] : [part(p), whole(w)];
      const name = (named.fields[names] ?? '').trim();
      return name !== '' && (lister.fields[listField] ?? '').split(separator).some((entry) => entry.trim() === name);
    };
    return wholes.map((w) => ({ some: [w], many: parts.filter((p) => pairable(w, p) && links(w, p)) }));
  }
  const key = (record: NaiveRecord) => groupBy.map((name) => (record.fields[name] ?? '').trim());
  const together = (w: number, p: number) => {
    const [a, b] = [key(whole(w)), key(part(p))];
    return pairable(w, p) && a.every((text, i) => text !== '' && text === b[i]);
  };
  if (!manyWholes) return wholes.map((w) => ({ some: [w], many: parts.filter((p) => together(w, p)) }));
  const done = new Set<number>();
  return wholes.flatMap((w) => {
    const many = parts.filter((p) => together(w, p));
    if (done.has(w) || many.length === 0) return [];
    const some = wholes.filter((other) => together(other, many[0] as number));
    for (const other of some) done.add(other);
    return [{ some, many }];
  });
}

/** What of a rule two records must have alike; sums take the place of the amount, and `groupBy` that of reference and date. */
function alike(rule: Rule, l: NaiveRecord, r: NaiveRecord): boolean {
  const { config } = rule;
  if (config.matchCurrency && l.currency !== r.currency) return false;
  if (rule.type !== 'DATE_LAG' && rule.config.matchBaseCurrency && l.baseCurrency !== r.baseCurrency) return false;
  for (const name of config.matchFields) {
    const [a, b] = [(l.fields[name] ?? '').trim(), (r.fields[name] ?? '').trim()];
    if (a === '' || a !== b) return false;
  }
  if (config.groupBy !== undefined) return true;
  if (rule.type !== 'DATE_LAG' && rule.config.matchReference && !sameReference(rule.config, l, r)) return false;
  if (config.similarity) {
    const likeness = naiveSimilarity(l.fields[config.similarity.field], r.fields[config.similarity.field]);
    if (likeness < Number(config.similarity.floor) * 10_000) return false;
  }
  const lag = dayOf(r) - dayOf(l);
  switch (rule.type) {
    case 'EXACT':
      if (!rule.config.matchDate) return true;
      return rule.config.datePrecision === 'DAY' ? lag === 0 : l.timestamp === r.timestamp;
    case 'TOLERANCE':
      return Math.abs(lag) <= rule.config.dateWindowDays;
    case 'DATE_LAG': {
      const { minDays, maxDays, inclusive, direction } = rule.config;
      if (direction === 'LEFT_BEFORE_RIGHT' && lag < 0) return false;
      if (direction === 'RIGHT_BEFORE_LEFT' && lag > 0) return false;
      const days = Math.abs(lag);
      return inclusive ? days >= minDays && days <= maxDays : days > minDays && days < maxDays;
    }
  }
}

function confidenceOf(rule: Rule, wholes: NaiveRecord[], parts: NaiveRecord[], a: bigint, b: bigint): number {
  const [, larger] = [abs(a), abs(b)].sort((x, y) => (x < y ? -1 : 1)) as [bigint, bigint];
  const rest = larger - abs(a - b);
  const amount = a === b ? 10_000n : rest < 0n ? 0n : (rest * 10_000n) / larger;
  const currency = new Set([...wholes, ...parts].map((record) => record.currency)).size === 1 ? 10_000n : 0n;
  const apart = Math.max(...wholes.flatMap((w) => parts.map((p) => Math.abs(dayOf(w) - dayOf(p)))));
  const window =
    rule.type === 'EXACT' ? undefined : rule.type === 'TOLERANCE' ? rule.config.dateWindowDays : rule.config.maxDays;
  const date =
    window === undefined ? 10_000n : BigInt(Math.max(0, Math.floor(((window + 1 - apart) * 10_000) / (window + 1))));
  const compares =
    rule.config.groupBy !== undefined ||
    rule.config.matchFields.length > 0 ||
    rule.type === 'EXACT' ||
    (rule.type === 'TOLERANCE' && rule.config.matchReference);
  return Number((2n * (40n * amount + 30n * currency + 20n * date + (compares ? 100_000n : 0n)) + 10_000n) / 20_000n);
}

function subsets(of: number[]): number[][] {
  return Array.from({ length: 2 ** of.length }, (_, mask) => of.filter((_, i) => (mask >> i) % 2 === 1));
}

function byOrder(a: NaiveRecord, b: NaiveRecord): number {
  if (a.externalId !== b.externalId) return a.externalId < b.externalId ? -1 : 1;
  return a.source < b.source ? -1 : 1;
}

function lexical(a: number[], b: number[]): number {
  for (const [i, x] of a.entries()) if (x !== b[i]) return x - (b[i] as number);
  return 0;
}

const abs = (x: bigint) => (x < 0n ? -x : x);
