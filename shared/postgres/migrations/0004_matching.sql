-- What matching keeps beyond pairs of amounts.

-- Of records whose source says what they are worth in one currency for all.
ALTER TABLE transactions
  ADD COLUMN amount_base numeric(28, 8),
  ADD COLUMN base_currency char(3),
  ADD COLUMN fx_rate numeric(38, 18);

-- What a person needs to act on an exception:
-- {"nearMisses": [{"transactionId": "…", "rule": "…", "apart": ["AMOUNT", …]}, …], "rule": "…", "gap": "12.50"}, each only where there is one.
ALTER TABLE exceptions ADD COLUMN details jsonb NOT NULL DEFAULT '{}';

-- How many records a group has: of a pair, what stands beside what need not be worked out.
ALTER TABLE match_groups ADD COLUMN items integer NOT NULL DEFAULT 2;

-- Whoever matches a context holds its row here, which nothing else writes: loads and new definitions go on meanwhile.
CREATE TABLE run_locks (
  context_id  integer PRIMARY KEY REFERENCES contexts
);
INSERT INTO run_locks SELECT id FROM contexts;
