-- Connections of clusters' servers, as they were last measured; keys of requests that begin no operation.

alter table registry.cluster
    -- For ordinary logins.
    add column server_connections integer,
    add column used_connections integer;

-- Of a request that made something whose secret is in one answer: it came with this key.
create table registry.made_once (
    -- HMAC of who asked and the key.
    key bytea not null,
    -- HMAC of the request.
    request_digest bytea not null,
    -- What it made.
    made text not null,
    created_at timestamptz not null default now(),
    constraint made_once_key primary key (key)
);
create index made_once_created_index on registry.made_once (created_at);
