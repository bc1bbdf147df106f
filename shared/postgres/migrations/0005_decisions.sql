-- What persons decide about groups.

-- The items of groups that were rejected or revoked: their transactions are open again, or in other groups by now. Where it is `barred`, no run matches a left
-- transaction of the group with a right one of it again.
CREATE TABLE match_items_history (
  group_id        bigint NOT NULL,
  transaction_id  bigint NOT NULL,
  side            "char" NOT NULL CHECK (side IN ('L', 'R')),
  amount          numeric(28, 8) NOT NULL,
  barred          boolean NOT NULL,
  PRIMARY KEY (group_id, transaction_id)
);
-- A run asks which of its open transactions have been in such a group.
CREATE INDEX match_items_history_barred ON match_items_history (transaction_id) WHERE barred;

-- Who decided what about which group, and why.
CREATE TABLE match_decisions (
  group_id    bigint NOT NULL,
  job_id      text NOT NULL,
  -- What the group became.
  status      text NOT NULL CHECK (status IN ('CONFIRMED', 'REJECTED', 'REVOKED')),
  reason      text,
  decided_by  text,
  decided_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (group_id, job_id)
);

-- A person's own group has an id as if it were that of a run with one group.
ALTER TABLE match_runs
  DROP CONSTRAINT match_runs_mode_check,
  ADD CONSTRAINT match_runs_mode_check CHECK (mode IN ('DRY_RUN', 'COMMIT', 'MANUAL'));

-- Nor does anything score how well its parts hold.
ALTER TABLE match_groups
  ALTER COLUMN amount_score DROP NOT NULL,
  ALTER COLUMN currency_score DROP NOT NULL,
  ALTER COLUMN date_score DROP NOT NULL,
  ALTER COLUMN reference_score DROP NOT NULL;
