import type { Condition, Rule, ToleranceConfig } from '@matcher/shared/jobs/contracts/rules.ts';
import { parseAmount } from '@matcher/shared/money/decimal.ts';

/**
 * One-to-one matching as the reference defines it, and nothing else: all pairs that satisfy a rule, sorted by nearness, taken
 * in turn. Quadratic and slow on purpose; it shares no code with the engine, so that both can be held against each other.
 */

export interface NaiveRecord {
  externalId: string;
  source: string;
  amount: bigint;
  currency: string;
  /** Milliseconds since the epoch. */
  timestamp: number;
  amountBase: bigint | null;
  baseCurrency: string | null;
  fields: Record<string, string | null>;
}

export interface NaivePair {
  rule: number;
  left: number;
  right: number;
  confidence: number;
}

/** Rows that must not come together: of the left, of the right. */
export type NaiveForbidden = readonly (readonly [number, number])[];

export function matchNaively(
  left: NaiveRecord[],
  right: NaiveRecord[],
  rules: Rule[],
  forbidden: NaiveForbidden = [],
): NaivePair[] {
  const openLeft = new Set(left.keys());
  const openRight = new Set(right.keys());
  const taken: NaivePair[] = [];
  const byPriority = [...rules.entries()].sort(([, a], [, b]) => a.priority - b.priority);
  for (const [rule, definition] of byPriority) {
    const candidates: NaivePair[] = [];
    for (const l of openLeft) {
      for (const r of openRight) {
        if (forbidden.some(([a, b]) => a === l && b === r)) continue;
        const confidence = naiveConfidence(definition, left[l] as NaiveRecord, right[r] as NaiveRecord);
        if (confidence >= 60) candidates.push({ rule, left: l, right: r, confidence });
      }
    }
    const nearness = ({ left: l, right: r }: NaivePair) => {
      const [a, b] = [left[l] as NaiveRecord, right[r] as NaiveRecord];
      const { similarity } = definition.config;
      const unlike = similarity ? -naiveSimilarity(a.fields[similarity.field], b.fields[similarity.field]) : 0;
      return [abs(a.amount - b.amount), daysBetween(a, b), unlike, a.externalId, b.externalId, a.source, b.source];
    };
    candidates.sort((a, b) => compareLists(nearness(a), nearness(b)));
    for (const pair of candidates) {
      if (!openLeft.has(pair.left) || !openRight.has(pair.right)) continue;
      openLeft.delete(pair.left);
      openRight.delete(pair.right);
      taken.push(pair);
    }
  }
  return taken;
}

/** The confidence of a pair that satisfies the rule; 0 of one that doesn't. */
export function naiveConfidence(rule: Rule, l: NaiveRecord, r: NaiveRecord): number {
  if (!satisfies(rule, l, r)) return 0;
  const larger = max(abs(l.amount), abs(r.amount));
  const difference = abs(l.amount - r.amount);
  const amount = difference === 0n ? 10_000n : max(0n, ((larger - difference) * 10_000n) / larger);
  const currency = l.currency === r.currency ? 10_000n : 0n;
  const days = BigInt(daysBetween(l, r));
  const date = (window: number) => ((BigInt(window) + 1n - days) * 10_000n) / (BigInt(window) + 1n);
  const compares = rule.config.matchFields.length > 0;
  const [datePart, referencePart] =
    rule.type === 'EXACT'
      ? [10_000n, true]
      : rule.type === 'TOLERANCE'
        ? [date(rule.config.dateWindowDays), compares || rule.config.matchReference]
        : [date(rule.config.maxDays), compares];
  const { similarity } = rule.config;
  const likeness = similarity ? naiveSimilarity(l.fields[similarity.field], r.fields[similarity.field]) : 0;
  const sum = 40n * amount + 30n * currency + 20n * datePart + 10n * BigInt(referencePart ? 10_000 : likeness);
  return Number((sum * 2n + 10_000n) / 20_000n);
}

function satisfies(rule: Rule, l: NaiveRecord, r: NaiveRecord): boolean {
  const { config } = rule;
  if (config.matchCurrency && l.currency !== r.currency) return false;
  for (const name of config.matchFields) {
    const [a, b] = [(l.fields[name] ?? '').trim(), (r.fields[name] ?? '').trim()];
    if (a === '' || a !== b) return false;
  }
  if (rule.type !== 'DATE_LAG' && rule.config.matchReference && !sameReference(rule.config, l, r)) return false;
  if (
    ![...config.where.left.map((one) => holds(one, l)), ...config.where.right.map((one) => holds(one, r))].every(
      Boolean,
    )
  ) {
    return false;
  }
  if (config.similarity) {
    const likeness = naiveSimilarity(l.fields[config.similarity.field], r.fields[config.similarity.field]);
    if (likeness < Number(config.similarity.floor) * 10_000) return false;
  }
  if (rule.type !== 'DATE_LAG') {
    if (rule.config.matchBaseCurrency && (l.baseCurrency === null || l.baseCurrency !== r.baseCurrency)) return false;
    if (rule.config.matchBaseAmount) {
      if (l.amountBase === null || r.amountBase === null) return false;
      if (rule.type === 'EXACT' && l.amountBase !== r.amountBase) return false;
      if (rule.type === 'TOLERANCE' && !withinTolerance(rule.config, l.amountBase, r.amountBase)) return false;
    }
  }
  const days = daysBetween(l, r);
  if (rule.type === 'EXACT') {
    const { matchAmount, matchDate, datePrecision } = rule.config;
    if (matchAmount && l.amount !== r.amount) return false;
    return !matchDate || (datePrecision === 'DAY' ? days === 0 : l.timestamp === r.timestamp);
  }
  if (rule.type === 'DATE_LAG') {
    const { minDays, maxDays, inclusive, direction, feeTolerance } = rule.config;
    const rightIsLater = dayOf(r) - dayOf(l);
    if (direction === 'LEFT_BEFORE_RIGHT' && rightIsLater < 0) return false;
    if (direction === 'RIGHT_BEFORE_LEFT' && rightIsLater > 0) return false;
    if (inclusive ? days < minDays || days > maxDays : days <= minDays || days >= maxDays) return false;
    return l.amount * r.amount >= 0n && abs(l.amount - r.amount) <= parseAmount(feeTolerance);
  }
  return days <= rule.config.dateWindowDays && withinTolerance(rule.config, l.amount, r.amount);
}

function withinTolerance(config: ToleranceConfig, left: bigint, right: bigint): boolean {
  if (left * right < 0n) return false; // a debit is never a credit's counterpart
  const [a, b] = [naiveRound(left, config), naiveRound(right, config)];
  const difference = abs(a - b);
  const bases = { MAX: max(abs(a), abs(b)), MIN: -max(-abs(a), -abs(b)), LEFT: abs(a), RIGHT: abs(b) };
  const [base, divisor] =
    config.percentageBase === 'AVERAGE' ? [abs(a) + abs(b), 2n] : [bases[config.percentageBase], 1n];
  const allowed = parseAmount(config.percentTolerance) * base; // × 10^16 × divisor
  return difference <= parseAmount(config.absTolerance) || difference * 10n ** 8n * divisor <= allowed;
}

export function holds({ operator, field, value = '', values = [] }: Condition, record: NaiveRecord): boolean {
  const text = (record.fields[field] ?? '').trim();
  const exists = text !== '';
  const plain = {
    EQUALS: exists && text === value.trim(),
    IN: exists && values.some((one) => one.trim() === text),
    EXISTS: exists,
  };
  const negated = operator.startsWith('NOT_');
  return plain[(negated ? operator.slice(4) : operator) as keyof typeof plain] !== negated;
}

/** Of two texts, in ten-thousandths: each trigram of one crosses out one of the other. */
export function naiveSimilarity(left: string | null | undefined, right: string | null | undefined): number {
  const words = (text: string) =>
    (
      text
        .normalize('NFKD')
        .replace(/\p{M}/gu, '')
        .toLowerCase()
        .normalize('NFKD')
        .match(/[\p{L}\p{N}]+/gu) ?? []
    ).join(' ');
  const [a, b] = [words(left ?? ''), words(right ?? '')];
  if (a === '' || b === '') return 0;
  if (a === b) return 10_000;
  const pieces = (text: string) => Array.from({ length: text.length + 1 }, (_, i) => `  ${text} `.slice(i, i + 3));
  const [mine, theirs] = [pieces(a), pieces(b)];
  const total = mine.length + theirs.length;
  const common = mine.filter((piece) => {
    const at = theirs.indexOf(piece);
    if (at >= 0) theirs.splice(at, 1);
    return at >= 0;
  }).length;
  return Math.min(9999, Math.floor((20_000 * common) / total));
}

export function sameReference(
  config: { referenceField: string; caseInsensitive: boolean; referenceMustSet: boolean },
  l: NaiveRecord,
  r: NaiveRecord,
): boolean {
  const [a, b] = [l, r].map((record) => {
    const text = (record.fields[config.referenceField] ?? '').trim();
    return config.caseInsensitive ? text.replace(/[A-Z]/g, (letter) => letter.toLowerCase()) : text;
  });
  return a === b && !(config.referenceMustSet && a === '');
}

/** By floor division and what remains, unlike the engine's rounding, which goes from the truncated value. */
function naiveRound(amount: bigint, config: { roundingScale: number; roundingMode: string }): bigint {
  const step = 10n ** BigInt(Math.max(0, 8 - config.roundingScale));
  const rest = ((amount % step) + step) % step;
  const [down, up] = [amount - rest, rest === 0n ? amount : amount - rest + step];
  if (rest === 0n) return amount;
  const nearer = 2n * rest < step ? down : 2n * rest > step ? up : undefined;
  switch (config.roundingMode) {
    case 'FLOOR':
      return down;
    case 'CEIL':
      return up;
    case 'TRUNCATE':
      return amount > 0n ? down : up;
    case 'BANKERS':
      return nearer ?? ((down / step) % 2n === 0n ? down : up);
    default:
      return nearer ?? (amount > 0n ? up : down);
  }
}

export function dayOf(record: NaiveRecord): number {
  return Date.parse(`${new Date(record.timestamp).toISOString().slice(0, 10)}T00:00:00Z`) / 86_400_000;
}

export function daysBetween(l: NaiveRecord, r: NaiveRecord): number {
  return Math.abs(dayOf(l) - dayOf(r));
}

function compareLists(a: (bigint | number | string)[], b: (bigint | number | string)[]): number {
  for (const [i, x] of a.entries()) {
    const y = b[i] as typeof x;
    if (x !== y) return x < y ? -1 : 1;
  }
  return 0;
}

const abs = (x: bigint) => (x < 0n ? -x : x);
const max = (x: bigint, y: bigint) => [x, y].reduce((a, b) => (a > b ? a : b));
