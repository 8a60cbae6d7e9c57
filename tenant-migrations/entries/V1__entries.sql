-- Entries: a title and a JSON object. The model feature.

create table entries.entry (
    -- A UUIDv7, so the primary key is also the order of creation.
    id uuid not null,
    title text not null,
    body jsonb not null,
    -- Counts the changes; the entity tag.
    version bigint not null default 1,
    -- The subject of the token that made it, e.g. usr_...
    created_by text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    constraint entry_key primary key (id),
    constraint entry_title_check check (char_length(title) between 1 and 200),
    constraint entry_body_check check (jsonb_typeof(body) = 'object')
);
