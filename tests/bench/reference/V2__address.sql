-- Where contacts are.

create table reference.address (
    id uuid not null,
    contact_id uuid not null,
    purpose text not null,
    lines text[] not null,
    city text not null,
    postal_code text not null,
    country text not null,
    constraint address_key primary key (id),
    constraint address_contact_fk foreign key (contact_id) references reference.contact (id) on delete cascade,
    constraint address_purpose_check check (purpose in ('billing', 'delivery', 'visit')),
    constraint address_country_check check (country ~ '^[A-Z]{2}$')
);
create index address_contact_index on reference.address (contact_id);
