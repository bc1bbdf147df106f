-- The record of every job of this tenant. The job's id, given by its publisher, is its identity: a message that comes twice finds
-- the record of the first and changes nothing.
CREATE TABLE jobs (
  id           text PRIMARY KEY,
  type         text NOT NULL,
  -- What the publisher sent; another body under the same id is refused.
  body         jsonb NOT NULL,
  body_sha256  bytea NOT NULL,
  state        text NOT NULL CHECK (state IN ('RUNNING', 'WAITING', 'SUCCEEDED', 'FAILED')),
  -- Attempts that were charged. Waiting for a busy context or a database that is away charges none.
  attempt      integer NOT NULL DEFAULT 0,
  -- Fencing token: grows with every claim. Who holds an older one cannot commit.
  fence        bigint NOT NULL DEFAULT 0,
  lease_until  timestamptz,
  worker       text,
  result       jsonb,
  -- {code, message} of the last failure.
  error        jsonb,
  created_at   timestamptz NOT NULL DEFAULT now(),
  started_at   timestamptz,
  finished_at  timestamptz
);

-- Events on their way out. Written in the transaction that makes them true, sent afterwards in this order, then deleted.
CREATE TABLE outbox (
  position    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id    uuid NOT NULL,
  event_type  text NOT NULL,
  body        jsonb NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);
