-- What delivery keeps of a job beyond its attempts.

ALTER TABLE jobs
  DROP CONSTRAINT jobs_state_check,
  ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('RUNNING', 'WAITING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'DUPLICATE')),
  -- How often its process ended while it was running: what brings processes down is not tried for ever.
  ADD COLUMN deaths integer NOT NULL DEFAULT 0,
  -- Its message was acknowledged while it goes on: when its lease ends, this record is all that can bring it back.
  ADD COLUMN detached boolean NOT NULL DEFAULT false,
  -- The publisher's own name for the request: another job of this type with the same one is its duplicate.
  ADD COLUMN idempotency_key text,
  ADD COLUMN duplicate_of text;

CREATE UNIQUE INDEX jobs_idempotency_key ON jobs (type, idempotency_key)
  WHERE idempotency_key IS NOT NULL AND state <> 'DUPLICATE';
-- Those that nobody works on any more, and those that a person looks for.
CREATE INDEX jobs_detached ON jobs (lease_until) WHERE detached AND state IN ('RUNNING', 'WAITING');
CREATE INDEX jobs_created ON jobs (created_at);

-- Jobs that are not to be done, whether or not a worker has heard of them yet. Removed with the job's record, or when it is old.
CREATE TABLE job_cancellations (
  job_id        text PRIMARY KEY,
  requested_at  timestamptz NOT NULL DEFAULT now()
);

-- Whoever sends what is in the outbox holds this row's lock: one process at a time, so that the order is kept.
CREATE TABLE outbox_sender (
  only  boolean PRIMARY KEY DEFAULT true CHECK (only)
);
INSERT INTO outbox_sender DEFAULT VALUES;

-- Whose data this is: a process that comes for another tenant is turned away.
CREATE TABLE tenant (
  tenant_id  text NOT NULL,
  only       boolean PRIMARY KEY DEFAULT true CHECK (only)
);
