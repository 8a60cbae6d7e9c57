-- What it costs, in minor units.

create table reference.price (
    product_id uuid not null,
    currency text not null,
    valid_from date not null,
    amount_minor bigint not null,
    constraint price_key primary key (product_id, currency, valid_from),
    constraint price_product_fk foreign key (product_id) references reference.product (id) on delete cascade,
    constraint price_amount_check check (amount_minor >= 0)
);
