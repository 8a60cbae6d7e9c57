-- People and companies that the tenant deals with.

create table reference.contact (
    id uuid not null,
    kind text not null,
    name text not null,
    email text,
    phone text,
    created_at timestamptz not null default now(),
    constraint contact_key primary key (id),
    constraint contact_kind_check check (kind in ('person', 'company'))
);
create index contact_name_index on reference.contact (lower(name));
create unique index contact_email_key on reference.contact (lower(email));
