-- What delivery keeps of a job beyond its attempts.

ALTER TABLE jobs
  DROP CONSTRAINT jobs_state_check,
  ADD CONSTRAINT jobs_state_check
    CHECK (state IN ('RUNNING', 'WAITING', 'SUCCEEDED', 'FAILED', 'CANCELLED', 'DUPLICATE')),
  -- How often its process ended while it was running: what brings processes down is not tried for ever.
  ADD COLUMN deaths integer NOT NULL DEFAULT 0,
  -- The publisher's own name for the request: another job of this type with the same one is its duplicate.
  ADD COLUMN idempotency_key text,
  ADD COLUMN duplicate_of text;

-- A record changes a few times within a second and then never again: room on its page keeps these changes out of the indexes.
ALTER TABLE jobs SET (fillfactor = 70);
-- A duplicate's record has no key of its own.
CREATE UNIQUE INDEX jobs_idempotency_key ON jobs (type, idempotency_key) WHERE idempotency_key IS NOT NULL;
-- What a person looks for, newest first.
CREATE INDEX jobs_created ON jobs (created_at);

-- Jobs that are not to be done, whether or not a worker has heard of them yet. Removed with the job's record, or when it is old.
CREATE TABLE job_cancellations (
  job_id        text PRIMARY KEY,
  requested_at  timestamptz NOT NULL DEFAULT now()
);

-- Whose data this is: a process that comes for another tenant is turned away.
CREATE TABLE tenant (
  tenant_id  text NOT NULL,
  the_only   boolean PRIMARY KEY DEFAULT true CHECK (the_only)
);
