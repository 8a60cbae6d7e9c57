-- Clusters can be removed, and the audit can be read.

-- What is left of a purged tenant is a tombstone, which may outlive its cluster.
alter table registry.tenant
    drop constraint tenant_placed_check,
    add constraint tenant_placed_check
        check (status = 'provisioning' or cluster is not null or purged_at is not null);

-- The audit is read newest first: as a whole, or of a tenant, an actor or an action.
create index audit_at_index on registry.audit (at, number);
create index audit_actor_index on registry.audit (actor, at, number);
create index audit_action_index on registry.audit (action, at, number);
create index audit_tenant_at_index on registry.audit (tenant_id, at, number)
    where tenant_id is not null;
drop index registry.audit_tenant_index;
