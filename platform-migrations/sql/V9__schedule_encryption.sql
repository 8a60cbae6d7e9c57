-- Which key the backups of a tier's schedule are encrypted with.

alter table registry.tier
    add column backup_encryption text not null default 'none',
    add constraint tier_backup_encryption_check check (backup_encryption in ('none', 'tenant'));
