-- What is sold, in groups.

create table reference.category (
    id uuid not null,
    parent_id uuid,
    name text not null,
    constraint category_key primary key (id),
    constraint category_parent_fk foreign key (parent_id) references reference.category (id)
);
create index category_parent_index on reference.category (parent_id);

create table reference.product (
    id uuid not null,
    category_id uuid not null,
    sku text not null,
    title text not null,
    attributes jsonb not null default '{}',
    archived_at timestamptz,
    constraint product_key primary key (id),
    constraint product_sku_key unique (sku),
    constraint product_category_fk foreign key (category_id) references reference.category (id)
);
create index product_category_index on reference.product (category_id);
