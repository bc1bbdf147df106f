import { matchAgainstBare } from './match-against-bare.ts';
import { exactRules } from './match-tenant.ts';
import { exactPairs } from './plain-sql.ts';

/** Same currency, amount and reference, a million a side. */
await matchAgainstBare({
  name: 'match-exact',
  rules: exactRules,
  limit: 1.5,
  fields: [`metadata ->> 'reference'`],
  plainSql: exactPairs,
});
process.exit();
