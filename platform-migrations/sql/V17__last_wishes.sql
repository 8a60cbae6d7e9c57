-- Whether a deleted tenant's purge keeps a last backup, as was asked for at its deletion.
alter table registry.tenant add column final_backup text not null default 'none';
alter table registry.tenant add constraint tenant_final_backup_check check (final_backup in ('none', 'keep'));

-- The keys that certificates were signed with are published for as long as there are certificates.
create index deletion_certificate_key_index on registry.deletion_certificate (public_key);
