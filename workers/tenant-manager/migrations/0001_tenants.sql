-- The Tenant Manager's memory: who the tenants are, which services they have, and where each one's data is.

CREATE TABLE tenant_manager.tenants (
  id              text        PRIMARY KEY,            -- canonical: a UUID without dashes, or any other identifier as it is
  slug            text        NOT NULL UNIQUE,
  name            text        NOT NULL,
  environment     text        NOT NULL,
  isolation       text        NOT NULL,
  status          text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  metadata        jsonb       NOT NULL DEFAULT '{}'    CHECK (jsonb_typeof(metadata) = 'object'),
  owner_email     text        NOT NULL,
  email_verified  boolean     NOT NULL,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at      timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE tenant_manager.associations (
  tenant_id          text        NOT NULL REFERENCES tenant_manager.tenants,
  service            text        NOT NULL,
  isolation_mode     text        NOT NULL,
  -- `provisioning` is written before anything is created, so that what a crash left behind has a name and can be completed.
  status             text        NOT NULL DEFAULT 'provisioning' CHECK (status IN ('provisioning', 'active', 'suspended')),
  max_open_conns     integer     CHECK (max_open_conns > 0),
  max_idle_conns     integer     CHECK (max_idle_conns > 0),
  -- One name for the database, its role, the vhost and its user. Drawn once and never derived again from the tenant's id, whose
  -- length and case an identifier could not carry.
  resource_name      text        NOT NULL UNIQUE,
  database_password  bytea       NOT NULL,            -- sealed, see passwords.ts
  broker_password    bytea       NOT NULL,            -- sealed
  created_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  updated_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, service)
);
