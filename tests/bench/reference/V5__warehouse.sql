-- Where it lies, and how much of it.

create table reference.warehouse (
    id uuid not null,
    name text not null,
    constraint warehouse_key primary key (id),
    constraint warehouse_name_key unique (name)
);

create table reference.stock_level (
    warehouse_id uuid not null,
    product_id uuid not null,
    quantity integer not null,
    constraint stock_level_key primary key (warehouse_id, product_id),
    constraint stock_level_warehouse_fk foreign key (warehouse_id) references reference.warehouse (id),
    constraint stock_level_product_fk foreign key (product_id) references reference.product (id)
);
create index stock_level_product_index on reference.stock_level (product_id);
