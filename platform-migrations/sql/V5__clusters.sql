-- What placement and moves have to know of a cluster besides its connections.

alter table registry.cluster drop constraint cluster_status_check;
alter table registry.cluster
    add column labels jsonb not null default '{}',
    -- Bytes that tenants' databases may take; null is unlimited.
    add column max_disk_bytes bigint,
    -- Bytes that they took when it was last measured.
    add column used_bytes bigint,
    add column measured_at timestamptz,
    -- Sealed password of tn_query.
    add column query_credential text,
    -- Whether tn_platform may read logical replication slots.
    add column can_replicate boolean not null default false,
    add constraint cluster_status_check check (status in ('active', 'draining', 'full')),
    add constraint cluster_disk_check check (max_disk_bytes > 0);
