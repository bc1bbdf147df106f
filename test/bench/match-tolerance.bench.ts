import { matchAgainstBare } from './match-against-bare.ts';
import { toleranceRules } from './match-tenant.ts';
import { tolerancePairs } from './plain-sql.ts';

/** Same currency, 0.05 and three days apart at most, a million a side. */
await matchAgainstBare({
  name: 'match-tolerance',
  rules: toleranceRules,
  limit: 2,
  fields: [],
  plainSql: tolerancePairs,
});
process.exit();
