-- What was sent.

create table reference.shipment (
    id uuid not null,
    sales_order_id uuid not null,
    warehouse_id uuid not null,
    tracking text,
    shipped_at timestamptz,
    constraint shipment_key primary key (id),
    constraint shipment_order_fk foreign key (sales_order_id) references reference.sales_order (id),
    constraint shipment_warehouse_fk foreign key (warehouse_id) references reference.warehouse (id)
);
create index shipment_order_index on reference.shipment (sales_order_id);
