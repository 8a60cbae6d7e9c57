-- When an operator key ends by itself; null: when it is revoked.
alter table registry.operator_key add column expires_at timestamptz;
-- When it was last used, to about a minute.
alter table registry.operator_key add column last_used_at timestamptz;
-- Since when its uses are noted: what older keys were used for before is not known.
alter table registry.operator_key
    add column watched_since timestamptz not null default now();
