import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';
import { formatAmount } from '@matcher/shared/money/decimal.ts';
import { APART } from './engine/kept-apart.ts';
import type { Found } from './found.ts';
import type { SideName } from './merged-rows.ts';
import { idText, type RowIds } from './open-side.ts';
import type { OpenTransactions } from './read-open.ts';
import { ruleName } from './rule-name.ts';

/** What kept two records apart, as words: names of `APART`. */
export function apartWords(apart: number): string[] {
  return wordsOfApart.filter(([, bit]) => apart & bit).map(([word]) => word);
}

const wordsOfApart = Object.entries(APART);

/**
 * What an exception's details say, as JSON: `{"nearMisses": [{"transactionId", "rule", "apart"}, …]}`, the nearest first; of wholes and their parts the
 * `rule` that could not settle them, and the `gap` that the whole has beyond all its parts. What does not hold is not there.
 */
export class DetailsText {
  readonly #rules: readonly string[];
  readonly #ids: Record<SideName, RowIds>;
  readonly #found: Found['open'];
  readonly #apart = new Map<number, string>();

  constructor(rules: readonly Rule[], { left, right }: OpenTransactions, found: Found['open']) {
    this.#rules = rules.map((rule) => JSON.stringify(ruleName(rule)));
    this.#ids = { left: left.ids, right: right.ids };
    this.#found = found;
  }

  of(side: SideName, entry: number): string {
    const { rows, missStart, missRow, missRule, missApart, findings } = this.#found[side];
    const others = this.#ids[side === 'left' ? 'right' : 'left'];
    const end = missStart[entry + 1] as number;
    let misses = '';
    for (let i = missStart[entry] as number; i < end; i++) {
      const rule = this.#rules[missRule[i] as number];
      const apart = this.#apartText(missApart[i] as number);
      const id = idText(others, missRow[i] as number);
      misses += `${misses === '' ? '' : ','}{"transactionId":"${id}","rule":${rule},"apart":${apart}}`;
    }
    const finding = findings.size === 0 ? undefined : findings.get(rows[entry] as number);
    const found =
      finding === undefined
        ? ''
        : `"rule":${this.#rules[finding.rule]}${finding.gap === null ? '' : `,"gap":"${formatAmount(finding.gap)}"`}`;
    if (misses === '') return `{${found}}`;
    return `{"nearMisses":[${misses}]${found === '' ? '' : `,${found}`}}`;
  }

  #apartText(apart: number): string {
    let text = this.#apart.get(apart);
    if (text === undefined) {
      text = JSON.stringify(apartWords(apart));
      this.#apart.set(apart, text);
    }
    return text;
  }
}
