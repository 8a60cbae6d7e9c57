-- Backups and operations are listed by what they are and by when they began; sealing keys have an age.

create index backup_kind_index on registry.backup (kind, id);
-- All but the many that are as they should be.
create index backup_state_index on registry.backup (state, id) where state <> 'ready';
create index operation_created_index on registry.operation (created_at);

-- Since when a key of the ring is known: where it is kept says nothing of its age.
create table registry.sealing_key (
    id text not null,
    known_since timestamptz not null default now(),
    constraint sealing_key_key primary key (id)
);
