-- Operations on anything: a tenant, a cluster, or the whole fleet; with parents, progress and results.

alter table registry.operation alter column tenant_id drop not null;
alter table registry.operation
    add column cluster text,
    add column parent_id uuid,
    -- Who asked for it, as the audit names them.
    add column requested_by text not null default 'platform',
    -- Since when it is to end, where somebody cancelled it.
    add column cancel_at timestamptz,
    -- The state in which a stuck one goes on.
    add column resumes text,
    -- {"done": 3, "total": 50, "unit": "tenants", "note": ...} of one that counts.
    add column progress jsonb,
    -- What is kept of it when its plan is erased; never a secret.
    add column result jsonb,
    add constraint operation_subject_check check (tenant_id is null or cluster is null),
    add constraint operation_resumes_check check (resumes in ('running', 'unwinding')),
    add constraint operation_parent_fk foreign key (parent_id)
        references registry.operation (id) on delete set null;
create unique index operation_live_cluster_key on registry.operation (cluster)
    where cluster is not null and state in ('running', 'unwinding', 'stuck');
create unique index operation_live_fleet_key on registry.operation (kind)
    where tenant_id is null and cluster is null and state in ('running', 'unwinding', 'stuck');
create index operation_parent_index on registry.operation (parent_id) where parent_id is not null;
create index operation_kind_index on registry.operation (kind, id);
create index operation_state_index on registry.operation (state, id) where state <> 'done';
