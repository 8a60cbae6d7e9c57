-- Tiers that anybody may choose at the sign-up; operators give the others.
alter table registry.tier add column self_service boolean not null default true;
update registry.tier set self_service = false where name = 'enterprise';

-- When an operation that was stuck was last tried again: its patience counts from then on.
alter table registry.operation add column resumed_at timestamptz;
-- Since when no release that met it could read it; null as soon as one goes on with it.
alter table registry.operation add column unreadable_since timestamptz;
