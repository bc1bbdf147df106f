-- What the customer reconciles. A context has sources, sources have loads (one per accepted file), loads have transactions.
--
-- A transaction never changes once it is loaded. That it is matched is a row in match_items, that it is open after a run is a row in
-- exceptions. What a run has to look at is then: the loads no run has taken yet, and what has an open exception. What was
-- settled in the past is not read, and no million rows are rewritten to say that they are matched.

CREATE TABLE contexts (
  id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name        text NOT NULL UNIQUE,
  type        text NOT NULL CHECK (type IN ('1:1', '1:N', 'N:M')),
  status      text NOT NULL DEFAULT 'ACTIVE' CHECK (status IN ('DRAFT', 'ACTIVE', 'PAUSED', 'ARCHIVED')),
  -- The definition as it was applied last, rules with all their defaults.
  definition  jsonb NOT NULL,
  revision    integer NOT NULL DEFAULT 1,
  created_at  timestamptz NOT NULL DEFAULT now(),
  updated_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE sources (
  id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  context_id  integer NOT NULL REFERENCES contexts,
  name        text NOT NULL,
  type        text NOT NULL,
  side        text NOT NULL CHECK (side IN ('LEFT', 'RIGHT')),
  field_map   jsonb NOT NULL,
  UNIQUE (context_id, name)
);

-- One accepted file. Its transactions have the ids from id * 2^26 up, so that they stand together in the primary key and a run
-- reads a load by range. A load is taken by exactly one run, the first to see it.
CREATE TABLE loads (
  id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  context_id    integer NOT NULL REFERENCES contexts,
  source_id     integer NOT NULL REFERENCES sources,
  job_id        text NOT NULL UNIQUE,
  records       integer NOT NULL,
  loaded_at     timestamptz NOT NULL DEFAULT now(),
  taken_by_run  integer
);
CREATE INDEX loads_not_taken ON loads (context_id) WHERE taken_by_run IS NULL;

CREATE TABLE transactions (
  id           bigint PRIMARY KEY,
  source_id    integer NOT NULL,
  external_id  text NOT NULL,
  amount       numeric(28, 8) NOT NULL,
  currency     char(3) NOT NULL,
  occurred_at  timestamptz NOT NULL,
  description  text,
  metadata     jsonb NOT NULL DEFAULT '{}',
  UNIQUE (source_id, external_id)
);

-- Records of a file that could not be used, with the row they stand in and the reason.
CREATE TABLE rejected_records (
  job_id  text NOT NULL,
  row     integer NOT NULL,
  field   text,
  reason  text NOT NULL,
  code    text NOT NULL,
  PRIMARY KEY (job_id, row)
);

-- A matching run that was committed or, as a dry run, reported. While it runs it is its job that says so.
CREATE TABLE match_runs (
  id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  job_id       text NOT NULL UNIQUE,
  context_id   integer NOT NULL REFERENCES contexts,
  mode         text NOT NULL CHECK (mode IN ('DRY_RUN', 'COMMIT')),
  statistics   jsonb NOT NULL,
  finished_at  timestamptz NOT NULL DEFAULT now()
);

-- Ids are run * 2^26 + number within the run. The score's parts are kept, so that a person can see why.
CREATE TABLE match_groups (
  id               bigint PRIMARY KEY,
  context_id       integer NOT NULL,
  rule             text NOT NULL,
  status           text NOT NULL CHECK (status IN ('CONFIRMED', 'PROPOSED', 'REJECTED', 'REVOKED')),
  confidence       smallint NOT NULL CHECK (confidence BETWEEN 60 AND 100),
  -- How well each part holds, in ten-thousandths.
  amount_score     smallint NOT NULL,
  currency_score   smallint NOT NULL,
  date_score       smallint NOT NULL,
  reference_score  smallint NOT NULL
);

-- The items of live groups. The primary key is why no transaction is ever in two of them.
CREATE TABLE match_items (
  transaction_id  bigint PRIMARY KEY,
  group_id        bigint NOT NULL,
  side            "char" NOT NULL CHECK (side IN ('L', 'R')),
  amount          numeric(28, 8) NOT NULL
);
CREATE INDEX match_items_group ON match_items (group_id);

-- What is open after a run: one row per open transaction, removed when a later run matches it.
CREATE TABLE exceptions (
  transaction_id  bigint PRIMARY KEY,
  context_id      integer NOT NULL,
  reason          text NOT NULL,
  severity        text NOT NULL CHECK (severity IN ('CRITICAL', 'HIGH', 'MEDIUM', 'LOW')),
  status          text NOT NULL DEFAULT 'OPEN' CHECK (status IN ('OPEN', 'ASSIGNED', 'PENDING_RESOLUTION')),
  due_at          timestamptz NOT NULL,
  opened_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX exceptions_context ON exceptions (context_id, transaction_id);

-- A finished export file.
CREATE TABLE exports (
  job_id      text PRIMARY KEY,
  context_id  integer NOT NULL REFERENCES contexts,
  report      text NOT NULL,
  format      text NOT NULL,
  object_key  text NOT NULL,
  file_name   text NOT NULL,
  rows        bigint NOT NULL,
  bytes       bigint NOT NULL,
  sha256      text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now(),
  expires_at  timestamptz NOT NULL DEFAULT now() + interval '7 days'
);
