-- A small shop in PostgreSQL, to try things on: `createdb shop`, then `psql -d shop -f pipelines/shop.sql`.
create type state as enum ('open', 'paid', 'sent');

create table customers (
    id bigint generated always as identity primary key,
    email text not null unique,
    name text not null,
    country text,
    joined_on date not null
);

create table orders (
    id bigint generated always as identity primary key,
    customer_id bigint not null references customers (id),
    state state not null,
    amount numeric not null,
    items jsonb not null,
    placed_at timestamptz not null,
    delivered_after interval,
    updated_at timestamptz not null
);
comment on column orders.amount is 'in EUR, with VAT';
create index on orders (updated_at);

create table clicks (
    id bigint generated always as identity,
    at timestamptz not null,
    customer_id bigint,
    page text not null,
    address inet,
    primary key (id, at)
) partition by range (at);
create table clicks_2024 partition of clicks for values from ('2024-01-01') to ('2025-01-01');
create table clicks_2025 partition of clicks for values from ('2025-01-01') to ('2026-01-01');

insert into customers (email, name, country, joined_on)
select 'customer' || n || '@example.com', 'Customer ' || n, (array['DE', 'FR', 'DE', 'PL', null])[n % 5 + 1],
    date '2023-01-01' + n % 365
from generate_series(1, 1000) n;

insert into orders (customer_id, state, amount, items, placed_at, delivered_after, updated_at)
select n * 7 % 1000 + 1, (array['open', 'paid', 'sent'])[n % 3 + 1]::state, n % 800 * 0.49 + n % 3 * 12 + 5,
    jsonb_build_array(jsonb_build_object('sku', 'A' || n % 50, 'count', n % 4 + 1)), at,
    case n % 3 when 2 then n % 5 * interval '1 day 2 hours' end, at + n % 9 * interval '1 day'
from (select n, timestamptz '2024-01-01 08:00+00' + n / 2 * interval '80 minutes' as at from generate_series(1, 12000) n) placed;

insert into clicks (at, customer_id, page, address)
select timestamptz '2024-03-01 00:00+00' + n / 3 * interval '45 minutes', nullif(n % 1300, 0), '/p/' || n % 90,
    ('10.0.' || n % 256 || '.7')::inet
from generate_series(1, 30000) n;

analyze customers, orders, clicks;
