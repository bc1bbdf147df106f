import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';

/** The fields that rules read of each record, once each and in a fixed order: what a run has to supply. */
export function fieldsOf(rules: readonly Rule[]): string[] {
  return [...new Set(rules.flatMap(fieldsOfRule))].sort();
}

function fieldsOfRule({ config }: Rule): string[] {
  const { matchFields, where, similarity, groupBy } = config;
  return [
    ...matchFields,
    ...('matchReference' in config && config.matchReference ? [config.referenceField] : []),
    ...[...where.left, ...where.right].map(({ field }) => field),
    ...(similarity ? [similarity.field] : []),
    ...(groupBy === undefined ? [] : Array.isArray(groupBy) ? groupBy : [groupBy.listField, groupBy.names]),
  ];
}
