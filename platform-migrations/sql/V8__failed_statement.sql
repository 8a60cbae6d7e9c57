-- The statement at which a migration failed, besides what the server said of it.

alter table registry.rollout_tenant add column statement text;
alter table registry.migration_failure add column statement text;
