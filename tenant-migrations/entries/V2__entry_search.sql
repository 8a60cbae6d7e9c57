-- Text search over titles and the texts in bodies. Stored and not an expression index: the planner
-- takes the expression for cheap, and a plan that walks the table would compute it for every row.

alter table entries.entry
    add column search tsvector not null
        generated always as (
            to_tsvector('simple', title) || jsonb_to_tsvector('simple', body, '["string"]')
        ) stored;

create index entry_search_index on entries.entry using gin (search);
