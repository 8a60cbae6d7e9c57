-- Copies of tenants' data: backups in the object store, and databases that are kept for a time.

alter table registry.tier
    -- Null makes none by itself.
    add column backup_every interval,
    add column backup_keep integer not null default 7,
    add column backup_keep_days integer not null default 35,
    add constraint tier_backup_check check (backup_keep > 0 and backup_keep_days > 0);

-- A tenant's own data key, sealed; its deletion makes the objects that it encrypts unreadable.
create table registry.tenant_data_key (
    tenant_id text not null,
    key text not null,
    created_at timestamptz not null default now(),
    constraint tenant_data_key_key primary key (tenant_id),
    constraint tenant_data_key_tenant_fk foreign key (tenant_id)
        references registry.tenant (id) on delete cascade
);

create table registry.backup (
    id uuid not null,
    tenant_id text not null,
    kind text not null,
    state text not null,
    -- Its path in the object store.
    object text not null,
    size_bytes bigint,
    sha256 bytea,
    encryption text not null,
    schema_versions jsonb not null,
    server_version integer not null,
    -- The copy of the tenant's database that it is of.
    copy integer not null,
    -- What the registry knew of the tenant.
    facts jsonb not null default '{}',
    -- {"auth.account": {"rows": 3, "hash": "..."}}
    tables jsonb not null default '{}',
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    verified_at timestamptz,
    expires_at timestamptz,
    constraint backup_key primary key (id),
    constraint backup_object_key unique (object),
    constraint backup_tenant_fk foreign key (tenant_id) references registry.tenant (id),
    constraint backup_kind_check check (kind in ('manual', 'scheduled', 'final', 'export', 'import')),
    constraint backup_state_check check (state in ('writing', 'ready', 'corrupt', 'deleting')),
    constraint backup_encryption_check check (encryption in ('none', 'tenant'))
);
create index backup_tenant_index on registry.backup (tenant_id, created_at desc);
create index backup_expiry_index on registry.backup (expires_at) where expires_at is not null;

-- Old copies after a restore or a move, side and scratch databases: whose they are and until when.
-- The row is written before the database is made.
create table registry.kept_database (
    cluster text not null,
    name text not null,
    tenant_id text,
    operation_id uuid not null,
    -- Null keeps it until its operation says otherwise.
    drop_after timestamptz,
    created_at timestamptz not null default now(),
    constraint kept_database_key primary key (cluster, name),
    constraint kept_database_cluster_fk foreign key (cluster) references registry.cluster (name)
);
create index kept_database_due_index on registry.kept_database (drop_after)
    where drop_after is not null;
create index kept_database_tenant_index on registry.kept_database (tenant_id)
    where tenant_id is not null;

-- The rows of a file of tenants that are made one after the other.
create table registry.bulk_row (
    operation_id uuid not null,
    number integer not null,
    -- Holds a password's hash, never a password.
    request jsonb not null,
    state text not null default 'pending',
    tenant_id text,
    child_id uuid,
    failure jsonb,
    constraint bulk_row_key primary key (operation_id, number),
    constraint bulk_row_operation_fk foreign key (operation_id)
        references registry.operation (id) on delete cascade,
    constraint bulk_row_state_check check (state in ('pending', 'running', 'done', 'failed'))
);
create index bulk_row_state_index on registry.bulk_row (operation_id, state, number);
