-- The registry: the only place that knows all tenants.

-- One row: the registry's epoch (renewed when the registry is restored from a backup) and the
-- number of the newest change. The number comes from here and not from a sequence, updated last in
-- its transaction, so that numbers become visible in order.
create table registry.feed (
    only_row boolean not null default true,
    epoch uuid not null default gen_random_uuid(),
    last_number bigint not null default 0,
    constraint feed_key primary key (only_row),
    constraint feed_only_row_check check (only_row)
);
insert into registry.feed default values;

create table registry.tier (
    name text not null,
    position integer not null,
    title text not null,
    weight integer not null,
    -- {name: number or null}; null is unlimited.
    limits jsonb not null,
    features text[] not null,
    retention_days integer not null,
    constraint tier_key primary key (name),
    constraint tier_position_key unique (position),
    constraint tier_weight_check check (weight between 1 and 1000)
);
insert into registry.tier (name, position, title, weight, limits, features, retention_days) values
    ('standard', 1, 'Standard', 1,
     '{"users": 50, "storage_bytes": 10737418240, "connections": 4, "requests_per_second": 200}',
     '{entries}', 30),
    ('premium', 2, 'Premium', 4,
     '{"users": 200, "storage_bytes": 53687091200, "connections": 8, "requests_per_second": 1000}',
     '{entries}', 60),
    ('enterprise', 3, 'Enterprise', 16,
     '{"users": null, "storage_bytes": null, "connections": 16, "requests_per_second": null}',
     '{entries}', 90);

create table registry.cluster (
    name text not null,
    region text not null,
    host text not null,
    port integer not null,
    tls text not null,
    status text not null default 'active',
    -- Server connections that all replicas together may hold for tenants.
    connection_budget integer not null,
    -- More databases than this are not placed here; null is unlimited.
    max_databases integer,
    -- Tiers that it is kept for; null takes every tier.
    tiers text[],
    -- Share of new tenants relative to the other clusters of the region.
    weight integer not null default 1,
    server_version integer not null,
    -- Sealed passwords of tn_platform and tn_schema.
    platform_credential text not null,
    schema_credential text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint cluster_key primary key (name),
    constraint cluster_address_key unique (host, port),
    constraint cluster_status_check check (status in ('active', 'draining')),
    constraint cluster_tls_check check (tls in ('disable', 'require', 'verify-full')),
    constraint cluster_budget_check check (connection_budget > 0),
    constraint cluster_weight_check check (weight > 0)
);
create index cluster_region_index on registry.cluster (region);

create table registry.tenant (
    id text not null,
    slug text not null,
    company text not null,
    contact_email text not null,
    status text not null,
    tier text not null,
    -- Laid over the tier's: {"limits": {...}, "features": {"name": true or false}}.
    overrides jsonb not null default '{}',
    region text not null,
    time_zone text not null,
    cluster text,
    -- Counts the databases that the tenant has had; part of the database's marker.
    copy integer not null default 1,
    -- References to the passwords of its role, newest first.
    credentials text[] not null default '{}',
    generation bigint not null default 1,
    -- {owner: version} as last reported.
    schema_versions jsonb not null default '{}',
    created_at timestamptz not null default now(),
    activated_at timestamptz,
    updated_at timestamptz not null default now(),
    constraint tenant_key primary key (id),
    constraint tenant_slug_key unique (slug),
    constraint tenant_tier_fk foreign key (tier) references registry.tier (name),
    constraint tenant_cluster_fk foreign key (cluster) references registry.cluster (name),
    constraint tenant_status_check check (status in ('provisioning', 'active', 'suspended', 'deleted')),
    constraint tenant_id_check check (id ~ '^t_[a-z][a-z0-9_]{1,39}$'),
    constraint tenant_placed_check check (status = 'provisioning' or cluster is not null)
);
create index tenant_status_index on registry.tenant (status, id);
create index tenant_tier_index on registry.tenant (tier, id);
create index tenant_cluster_index on registry.tenant (cluster, id);
create index tenant_region_index on registry.tenant (region, id);
-- Counted at each placement.
create index tenant_held_index on registry.tenant (cluster) where status <> 'deleted';

create table registry.change (
    number bigint not null,
    tenant_id text not null,
    generation bigint not null,
    at timestamptz not null default now(),
    constraint change_key primary key (number)
);
create index change_at_index on registry.change (at);

create table registry.operation (
    id uuid not null,
    kind text not null,
    tenant_id text not null,
    state text not null,
    -- The step that is being done or undone, or the last one of an operation that is over.
    step text not null,
    -- What was chosen before the first step; a step may add to it. Empty when it is over.
    plan jsonb not null,
    -- Why it failed or what it waits for, as a problem document's code and words.
    failure jsonb,
    -- How often the current step was tried.
    attempts integer not null default 0,
    run_at timestamptz not null default now(),
    lease uuid,
    leased_until timestamptz,
    -- HMAC of the Idempotency-Key, and of the request that came with it.
    idempotency_key bytea,
    request_digest bytea,
    -- SHA-256 of the token that lets an anonymous caller read it.
    poll_digest bytea,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint operation_key primary key (id),
    constraint operation_idempotency_key unique (idempotency_key),
    constraint operation_state_check check (state in ('running', 'unwinding', 'done', 'undone', 'stuck'))
);
create unique index operation_live_key on registry.operation (tenant_id)
    where state in ('running', 'unwinding', 'stuck');
create index operation_due_index on registry.operation (run_at)
    where state in ('running', 'unwinding');
create index operation_tenant_index on registry.operation (tenant_id, created_at);
create index operation_finished_index on registry.operation (finished_at)
    where finished_at is not null;
create index operation_known_index on registry.operation (finished_at)
    where idempotency_key is not null or poll_digest is not null;

create table registry.operation_step (
    operation_id uuid not null,
    number bigint generated always as identity,
    step text not null,
    event text not null,
    detail text,
    at timestamptz not null default clock_timestamp(),
    constraint operation_step_key primary key (operation_id, number),
    constraint operation_step_operation_fk foreign key (operation_id)
        references registry.operation (id) on delete cascade,
    constraint operation_step_event_check check (event in
        ('started', 'done', 'postponed', 'failed', 'undo_started', 'undone', 'undo_failed'))
);

-- Services that own schemas, and their living replicas.
create table registry.schema_owner (
    name text not null,
    service text not null,
    newest integer not null,
    minimum integer not null,
    updated_at timestamptz not null default now(),
    constraint schema_owner_key primary key (name),
    constraint schema_owner_version_check check (minimum between 0 and newest)
);

create table registry.replica (
    id uuid not null,
    service text not null,
    internal_url text not null,
    owns jsonb not null,
    epoch uuid,
    seen_change bigint not null default 0,
    first_seen_at timestamptz not null default now(),
    last_seen_at timestamptz not null default now(),
    -- Silent from then on, unless it says again that it lives.
    live_until timestamptz not null,
    constraint replica_key primary key (id)
);
create index replica_live_index on registry.replica (live_until);

-- Connections of a cluster's budget that a replica may hold (granted), and the most that it may
-- still hold until it says that it keeps to less (held).
create table registry.replica_share (
    replica_id uuid not null,
    cluster text not null,
    granted integer not null,
    held integer not null,
    constraint replica_share_key primary key (replica_id, cluster),
    constraint replica_share_replica_fk foreign key (replica_id)
        references registry.replica (id) on delete cascade,
    constraint replica_share_cluster_fk foreign key (cluster)
        references registry.cluster (name) on delete cascade
);
create index replica_share_cluster_index on registry.replica_share (cluster);

-- Closed databases that new ones are copies of. The rows of this table and of the next one are the
-- truth: a derived database on a cluster that has no row here is an orphan, and dropped.
create table registry.template (
    cluster text not null,
    number bigint generated always as identity,
    schema_versions jsonb not null,
    status text not null,
    created_at timestamptz not null default now(),
    constraint template_key primary key (cluster, number),
    constraint template_cluster_fk foreign key (cluster) references registry.cluster (name),
    constraint template_status_check check (status in ('building', 'ready'))
);

-- Ready copies of a template, each with a role; claimed by a rename.
create table registry.stock (
    cluster text not null,
    number bigint generated always as identity,
    template bigint not null,
    status text not null,
    -- The operation that claims it, set before the rename.
    claimed_by uuid,
    created_at timestamptz not null default now(),
    constraint stock_key primary key (number),
    constraint stock_template_fk foreign key (cluster, template)
        references registry.template (cluster, number),
    constraint stock_status_check check (status in ('making', 'ready', 'claimed'))
);
create index stock_ready_index on registry.stock (cluster, template, number) where status = 'ready';
create index stock_claimed_index on registry.stock (claimed_by) where claimed_by is not null;

create table registry.migration_failure (
    tenant_id text not null,
    owner text not null,
    migration text not null,
    sqlstate text,
    message text not null,
    failures integer not null default 1,
    first_at timestamptz not null default now(),
    last_at timestamptz not null default now(),
    constraint migration_failure_key primary key (tenant_id, owner),
    constraint migration_failure_tenant_fk foreign key (tenant_id)
        references registry.tenant (id) on delete cascade
);

create table registry.operator_key (
    id uuid not null,
    name text not null,
    -- SHA-256 of the key; the key itself is 256 random bits and shown once.
    digest bytea not null,
    scopes text[] not null,
    created_at timestamptz not null default now(),
    revoked_at timestamptz,
    constraint operator_key_key primary key (id),
    constraint operator_key_digest_key unique (digest)
);

create table registry.signing_key (
    kid text not null,
    public_key text not null,
    private_key text not null,
    created_at timestamptz not null default now(),
    signs_from timestamptz not null,
    verifies_until timestamptz,
    constraint signing_key_key primary key (kid)
);

create table registry.audit (
    number bigint generated always as identity,
    at timestamptz not null default clock_timestamp(),
    actor text not null,
    action text not null,
    tenant_id text,
    detail jsonb not null default '{}',
    constraint audit_key primary key (number)
);
create index audit_tenant_index on registry.audit (tenant_id, number) where tenant_id is not null;
