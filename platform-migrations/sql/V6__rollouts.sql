-- Roll-outs of migrations over many tenants, in waves.

create table registry.rollout (
    id uuid not null,
    title text not null,
    state text not null,
    operation_id uuid,
    -- {owner: version} that it brings.
    target jsonb not null,
    filter jsonb not null,
    waves jsonb not null,
    -- Tenants at once per cluster.
    concurrency integer not null,
    -- Stops when more than this share of those tried has failed.
    halt_share double precision not null,
    current_wave integer not null default 0,
    halted_reason text,
    -- Failures that an operator has gone past: they do not halt it again.
    forgiven bigint not null default 0,
    created_by text not null,
    created_at timestamptz not null default now(),
    finished_at timestamptz,
    constraint rollout_key primary key (id),
    constraint rollout_state_check
        check (state in ('running', 'paused', 'halted', 'done', 'aborted')),
    constraint rollout_concurrency_check check (concurrency between 1 and 64),
    constraint rollout_share_check check (halt_share between 0 and 1)
);
create unique index rollout_live_key on registry.rollout ((true))
    where state in ('running', 'paused', 'halted');

create table registry.rollout_tenant (
    rollout_id uuid not null,
    tenant_id text not null,
    wave integer not null,
    cluster text not null,
    state text not null default 'pending',
    -- Of a failure: whose schema, which migration, and what the server said.
    owner text,
    migration text,
    sqlstate text,
    message text,
    attempts integer not null default 0,
    started_at timestamptz,
    finished_at timestamptz,
    constraint rollout_tenant_key primary key (rollout_id, tenant_id),
    constraint rollout_tenant_rollout_fk foreign key (rollout_id)
        references registry.rollout (id) on delete cascade,
    constraint rollout_tenant_tenant_fk foreign key (tenant_id)
        references registry.tenant (id) on delete cascade,
    constraint rollout_tenant_state_check
        check (state in ('pending', 'running', 'done', 'failed', 'skipped'))
);
create index rollout_tenant_next_index
    on registry.rollout_tenant (rollout_id, wave, cluster, tenant_id) where state = 'pending';
create index rollout_tenant_state_index on registry.rollout_tenant (rollout_id, state);
create index rollout_tenant_tenant_index on registry.rollout_tenant (tenant_id);
