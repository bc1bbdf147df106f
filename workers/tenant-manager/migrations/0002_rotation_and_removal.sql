-- What becomes of a tenant that leaves, of its credentials when they are changed, and where it is when it shares a database.

ALTER TABLE tenant_manager.tenants
  DROP CONSTRAINT tenants_status_check,
  ADD CONSTRAINT tenants_status_check CHECK (status IN ('active', 'suspended', 'deleted'));

ALTER TABLE tenant_manager.associations
  DROP CONSTRAINT associations_status_check,
  -- `disassociated` keeps its data; `purging` is written before anything is dropped, so that what a crash left behind is dropped later.
  ADD CONSTRAINT associations_status_check
    CHECK (status IN ('provisioning', 'active', 'suspended', 'disassociated', 'purging', 'purged')),
  -- In `schema` isolation a shared database, in which resource_name is the schema's name; else resource_name itself.
  ADD COLUMN database_name text,
  -- Alternates with each rotation between resource_name and the same with a suffix.
  ADD COLUMN broker_user text,
  -- 0: without end.
  ADD COLUMN statement_timeout_ms integer CHECK (statement_timeout_ms >= 0);

UPDATE tenant_manager.associations SET database_name = resource_name, broker_user = resource_name;

ALTER TABLE tenant_manager.associations
  ALTER COLUMN database_name SET NOT NULL,
  ALTER COLUMN broker_user SET NOT NULL;
