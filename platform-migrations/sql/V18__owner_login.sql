-- How often the login of the schemas was set again because somebody had changed it: whoever lets statements of
-- somebody else run as that role sees that it was changed meanwhile, although it is as it was.
alter table registry.cluster
    add column schema_login_resets integer not null default 0
        constraint cluster_schema_login_resets_check check (schema_login_resets >= 0);
