-- What is owed, and what was paid.

create table reference.invoice (
    id uuid not null,
    number text not null,
    sales_order_id uuid,
    contact_id uuid not null,
    currency text not null,
    total_minor bigint not null,
    due_on date not null,
    paid_at timestamptz,
    constraint invoice_key primary key (id),
    constraint invoice_number_key unique (number),
    constraint invoice_order_fk foreign key (sales_order_id) references reference.sales_order (id),
    constraint invoice_contact_fk foreign key (contact_id) references reference.contact (id)
);
create index invoice_contact_index on reference.invoice (contact_id);
create index invoice_due_index on reference.invoice (due_on) where paid_at is null;

create table reference.payment (
    id uuid not null,
    invoice_id uuid not null,
    amount_minor bigint not null,
    received_at timestamptz not null,
    reference text,
    constraint payment_key primary key (id),
    constraint payment_invoice_fk foreign key (invoice_id) references reference.invoice (id)
);
create index payment_invoice_index on reference.payment (invoice_id);
