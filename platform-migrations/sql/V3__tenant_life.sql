-- What may happen to a tenant after it was made: walls, holds, deletion, purge.

alter table registry.tenant
    -- What a suspended tenant may still do; a deleted one keeps the word for its return.
    add column wall text,
    add column suspended_reason text,
    add column suspended_until timestamptz,
    -- Requests wait until then while its database changes.
    add column held_until timestamptz,
    add column deleted_at timestamptz,
    add column purge_after timestamptz,
    add column purged_at timestamptz,
    -- What the database and role of a deleted tenant are called on its server.
    add column kept_name text,
    -- Labels that its cluster must have.
    add column labels jsonb not null default '{}',
    add column last_seen_at timestamptz;
update registry.tenant set wall = 'blocked' where status = 'suspended';
alter table registry.tenant
    add constraint tenant_wall_check
        check ((status = 'suspended') = (wall is not null) or status = 'deleted'),
    add constraint tenant_wall_word_check check (wall in ('read_only', 'blocked')),
    add constraint tenant_deleted_check check (deleted_at is null or status = 'deleted');
create index tenant_purge_index on registry.tenant (purge_after)
    where purged_at is null and purge_after is not null;
create index tenant_suspended_until_index on registry.tenant (suspended_until)
    where suspended_until is not null;

-- What was destroyed of a tenant, signed; its public key stands beside it, because signing keys are
-- forgotten.
create table registry.deletion_certificate (
    id uuid not null,
    tenant_id text not null,
    issued_at timestamptz not null default now(),
    body jsonb not null,
    signature text not null,
    public_key text not null,
    constraint deletion_certificate_key primary key (id),
    constraint deletion_certificate_tenant_key unique (tenant_id),
    constraint deletion_certificate_tenant_fk foreign key (tenant_id) references registry.tenant (id)
);
