-- What contacts ordered.

create table reference.sales_order (
    id uuid not null,
    number bigint generated always as identity,
    contact_id uuid not null,
    status text not null default 'draft',
    placed_at timestamptz,
    constraint sales_order_key primary key (id),
    constraint sales_order_number_key unique (number),
    constraint sales_order_contact_fk foreign key (contact_id) references reference.contact (id),
    constraint sales_order_status_check check (status in ('draft', 'placed', 'shipped', 'closed', 'cancelled'))
);
create index sales_order_contact_index on reference.sales_order (contact_id);
create index sales_order_open_index on reference.sales_order (placed_at) where status = 'placed';

create table reference.sales_order_line (
    sales_order_id uuid not null,
    position integer not null,
    product_id uuid not null,
    quantity integer not null,
    amount_minor bigint not null,
    constraint sales_order_line_key primary key (sales_order_id, position),
    constraint sales_order_line_order_fk foreign key (sales_order_id) references reference.sales_order (id) on delete cascade,
    constraint sales_order_line_product_fk foreign key (product_id) references reference.product (id),
    constraint sales_order_line_quantity_check check (quantity > 0)
);
create index sales_order_line_product_index on reference.sales_order_line (product_id);
