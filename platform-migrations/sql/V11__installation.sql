-- Who this registry is to the servers that it manages: each carries the id from when it was added. A
-- registry that is restored from a backup is the same installation; its feed's epoch is another one.

alter table registry.feed
    add column installation uuid not null default gen_random_uuid();
