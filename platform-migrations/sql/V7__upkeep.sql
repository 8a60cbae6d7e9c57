-- What sweeps found, and logins of operators to tenants' databases.

-- What nobody claims; removed after the grace.
create table registry.finding (
    kind text not null,
    place text not null,
    name text not null,
    detail text,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    -- Whether a sweep may remove it; what could be somebody's only data is removed by people.
    removable boolean not null,
    -- Somebody said that it stays.
    kept boolean not null default false,
    constraint finding_key primary key (kind, place, name),
    constraint finding_kind_check check (kind in ('database', 'role', 'secret', 'object', 'slot'))
);

-- Short-lived roles with which operators look into a tenant's database.
create table registry.psql_login (
    id uuid not null,
    tenant_id text not null,
    cluster text not null,
    access text not null,
    reason text not null,
    issued_to text not null,
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    dropped_at timestamptz,
    constraint psql_login_key primary key (id),
    constraint psql_login_access_check check (access in ('read', 'write'))
);
create index psql_login_due_index on registry.psql_login (expires_at) where dropped_at is null;
create index psql_login_tenant_index on registry.psql_login (tenant_id);
