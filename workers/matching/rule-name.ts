import type { Rule } from '@matcher/shared/jobs/contracts/rules.ts';

/** Name of a rule in groups, exceptions and reports. */
export const ruleName = (rule: Rule): string => rule.name ?? `${rule.type.toLowerCase()}-${rule.priority}`;
